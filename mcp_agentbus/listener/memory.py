# SPDX-License-Identifier: Apache-2.0
"""What each session was told of its mail."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.core import files
from mcp_agentbus.core.files import write_whole
from mcp_agentbus.core.ids import PROBE
from mcp_agentbus.core.notices import Counts
from mcp_agentbus.errors import BadSetup
from mcp_agentbus.listener.members import Member
from mcp_agentbus.wakes.policy import Waiting

# More than a user has open; the session that asked least lately is forgotten first.
_SESSIONS_MAX: Final = 200
# What a session is told of one by one, and how much of what waits no more is remembered. The key of
# a high task or result has 130 bytes at most.
_KEYS_MAX: Final = 500


@dataclass(frozen=True)
class Lane:
    """The tasks of one lane that nobody was offered yet, seen by one session."""

    name: str
    #: When the stream was made: in another one all numbers begin anew.
    made: str
    #: The last task's sequence; tasks are offered in this order.
    last: int
    #: How many of them the session was not told of.
    new: int


@dataclass
class Told:
    """What one session was told."""

    #: Of high tasks and results: those that wait no more, then those that do.
    keys: list[str] = field(default_factory=list)
    #: Of a lane: when its stream was made, and the last task's sequence.
    marks: dict[str, tuple[str, int]] = field(default_factory=dict)
    #: Those of the keys that a hook told, and that no wake has counted as told yet.
    fresh: list[str] = field(default_factory=list)
    #: Whether a notice was the last to tell something; not kept.
    noticed: bool = field(default=False, compare=False)

    def mark(self, lane: str, made: str) -> int:
        """Return the sequence of the last task in a lane that the session was told of."""
        known, seq = self.marks.get(lane, ("", 0))
        return seq if known == made else 0

    def tell(self, things: tuple[Waiting, ...], lanes: tuple[Lane, ...]) -> Counts:
        """Remember these as told; return how many of them were not before."""
        known, wait = set(self.keys), [one.key for one in things]
        new = [one for one in things if one.key not in known]
        more = [one for one in lanes if one.last > self.mark(one.name, one.made)]
        gone = known - set(wait)
        self.keys = [*[one for one in self.keys if one in gone][-_KEYS_MAX:], *wait]
        self.fresh = [*[one for one in self.fresh if one in wait], *(one.key for one in new)]
        self.marks |= {one.name: (one.made, one.last) for one in more}
        high = sum(one.kind == "task" for one in new)
        others = sum(one.new for one in more)
        return Counts(high=high, others=others, results=len(new) - high)

    def notice(self, things: Sequence[Waiting]) -> None:
        """Remember these as told by a notice: each wake after it shall tell them anew."""
        fresh = set(self.fresh) - {one.key for one in things}
        self.tell(tuple(things), ())
        self.fresh, self.noticed = sorted(fresh), True

    def spare(self, keys: Collection[str]) -> bool:
        """Tell whether a hook has told all these, which stands for the notice of one wake."""
        if not keys or not set(keys) <= set(self.fresh):
            return False
        self.fresh = [one for one in self.fresh if one not in keys]
        return True


class Memory:
    """What sessions were told: a 0600 file of this listener, as it was last read and written."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._told: dict[str, Told] | None = None

    def of(self, session: str) -> Told:
        """Return what a session was told; it is to be changed in place."""
        if session.partition(" ")[2].startswith(PROBE):
            return Told()
        everything = self._all()
        told = everything[session] = everything.pop(session, Told())
        while len(everything) > _SESSIONS_MAX:
            del everything[next(iter(everything))]
        return told

    def spares(self, session: str, keys: Collection[str]) -> bool:
        """Do as `Told.spare` for a session, and keep it."""
        told = self._all().get(session)
        spares = told is not None and told.spare(keys)
        if spares:
            self.save()
        return spares

    def save(self) -> None:
        """Keep it for the next listener; one that cannot tells some things again."""
        known = {
            session: {"keys": told.keys, "marks": told.marks, "fresh": told.fresh}
            for session, told in self._all().items()
            if told != Told()
        }
        with suppress(OSError):
            content = json.dumps(known, separators=(",", ":")).encode()
            write_whole(self._file, content, durable=False)

    def _all(self) -> dict[str, Told]:
        if self._told is None:
            self._told = self._load()
        return self._told

    def _load(self) -> dict[str, Told]:
        try:
            files.check_private(self._file)
            found = json.loads(self._file.read_text(encoding="utf-8"))
            return {session: _told(one) for session, one in found.items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError, BadSetup):
            return {}


def _told(kept: dict[str, Any]) -> Told:
    marks = {lane: (str(made), int(seq)) for lane, (made, seq) in kept["marks"].items()}
    keys, fresh = ([str(key) for key in kept[name]] for name in ("keys", "fresh"))
    return Told(keys, marks, fresh)


def conversation(member: Member) -> str:
    """Return the name of a session as its hooks know it."""
    return f"{member.host} {member.host_session}"
