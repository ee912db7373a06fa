# SPDX-License-Identifier: Apache-2.0
"""What a person was told, and what waits to be told: a 0600 file of the listener.

    book = Book(settings.taps_file)
    book.add(need)                  # False: it is known
    told = book.take()              # the file has it as told before anybody is told
    book.failed(told, ...)          # so it was not

So a listener that is killed tells nothing twice.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from mcp_agentbus.core import files
from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import BadSetup
from mcp_agentbus.human import needs
from mcp_agentbus.human.needs import Need
from mcp_agentbus.store.task import Record, utc

# What is remembered of things that were told: more do not need a person within a month.
_KEYS_MAX: Final = 5_000
# Of what waits so many are known; the rest is numbers, as all are told together.
_WAITING_MAX: Final = 50
_TAPS_MAX: Final = 10


class Bookmark(NamedTuple):
    """How far the records of the bus have been read."""

    #: Which stream, by the time at which it was made; another one counts from 1 again.
    stream: str
    #: The sequence that is read next.
    next: int
    #: When it was put there.
    at: datetime


@dataclass(frozen=True)
class Tap:
    """A line that a person was told, or was to be told."""

    at: datetime
    line: str
    is_told: bool
    said: str


@dataclass(frozen=True)
class NextTap:
    """What is told next, together."""

    needs: tuple[Need, ...] = ()
    #: Further ones, by kind.
    more: Counter[str] = field(default_factory=Counter)

    def __bool__(self) -> bool:
        return bool(self.needs or self.more)

    @property
    def count(self) -> int:
        """How many things."""
        return len(self.needs) + self.more.total()

    @property
    def line(self) -> str:
        """What says them."""
        return needs.line(self.needs, self.more)

    def and_(self, other: NextTap) -> NextTap:
        """Return both, in order."""
        together = (*self.needs, *other.needs)
        rest = Counter(need.kind for need in together[_WAITING_MAX:])
        return NextTap(together[:_WAITING_MAX], self.more + other.more + rest)


class TapBook:
    """The file as it was last read and written; kept by one process."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.bookmark: Bookmark | None = None
        self.waiting = NextTap()
        #: The latest last.
        self.taps: list[Tap] = []
        #: How many in a row were not told.
        self.failures = 0
        self._keys: dict[str, None] = {}
        #: Why it cannot be written, so that a next listener may tell some things again; or nothing.
        self.says = ""
        self._read()

    @property
    def last_at(self) -> datetime | None:
        """When a person was last told something, or was to be told."""
        return self.taps[-1].at if self.taps else None

    def add(self, need: Need) -> bool:
        """Have something told, unless it was told already or waits; tell whether it is new."""
        if need.key in self._keys:
            return False
        self._keys[need.key] = None
        while len(self._keys) > _KEYS_MAX:
            del self._keys[next(iter(self._keys))]
        self.waiting = self.waiting.and_(NextTap((need,)))
        self.save()
        return True

    def settle(self, record: Record) -> None:
        """Leave out what waits and is needed no more, now that a task's record is this one."""
        waiting = self.waiting.needs
        left = tuple(need for need in waiting if needs.stands(need, record))
        if len(left) == len(waiting):
            return
        for need in waiting:
            # A step is known by its time, a wake by its task, for which another may be held.
            if need.kind == "held" and need not in left:
                self._keys.pop(need.key, None)
        self.waiting = NextTap(left, self.waiting.more)
        self.save()

    def take(self, at: datetime) -> NextTap:
        """Return what is to be told; from now on it counts as told."""
        taken, self.waiting = self.waiting, NextTap()
        self._note(Tap(at, taken.line, is_told=False, said="its listener ended meanwhile"))
        return taken

    def ended(self, taken: NextTap, *, is_told: bool, said: str) -> None:
        """Note what became of what was taken; what was not told waits again."""
        self.taps[-1] = Tap(self.taps[-1].at, self.taps[-1].line, is_told, said)
        self.failures = 0 if is_told else self.failures + 1
        if not is_told:
            self.waiting = taken.and_(self.waiting)
        self.save()

    def forget(self) -> None:
        """Forget where it was, as what comes from now on is to be told to nobody."""
        if self.bookmark or self.waiting or self.failures:
            self.bookmark, self.waiting, self.failures = None, NextTap(), 0
            self.save()

    def save(self) -> None:
        """Keep it for the next listener."""
        kept = {
            "bookmark": self.bookmark and [*self.bookmark[:2], self.bookmark.at.isoformat()],
            "waiting": [asdict(need) for need in self.waiting.needs],
            "more": self.waiting.more,
            "taps": [{**asdict(tap), "at": tap.at.isoformat()} for tap in self.taps],
            "failures": self.failures,
            "keys": [*self._keys],
        }
        try:
            content = json.dumps(kept, separators=(",", ":")).encode()
            files.write_whole(self._file, content, durable=False)
            self.says = ""
        except OSError as error:
            self.says = f"{self._file} cannot be written: {error.strerror}"

    def _note(self, tap: Tap) -> None:
        self.taps = [*self.taps, tap][-_TAPS_MAX:]
        self.save()

    def _read(self) -> None:
        """Read the file; one that is not there, or not as it is written here, counts as empty."""
        try:
            files.check_private(self._file)
            kept = from_json(files.read_whole(self._file, files.HOSTS_MAX_BYTES))
            self._take_over(kept)
        except (
            OSError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            BadSetup,
        ):
            return

    def _take_over(self, kept: dict[str, Any]) -> None:
        stands = kept["bookmark"]
        bookmark = stands and Bookmark(
            str(stands[0]), int(stands[1]), utc(datetime.fromisoformat(stands[2]))
        )
        waiting = NextTap(tuple(_needs(kept["waiting"])), Counter(kept["more"]))
        taps = [
            Tap(**{**tap, "at": utc(datetime.fromisoformat(tap["at"]))}) for tap in kept["taps"]
        ]
        keys = dict.fromkeys(map(str, kept["keys"]))
        failures = int(kept["failures"])
        self.bookmark, self.waiting, self.taps = bookmark, waiting, taps
        self._keys, self.failures = keys, failures


def _needs(kept: Iterable[dict[str, str]]) -> Iterable[Need]:
    return (Need(**need) for need in kept)
