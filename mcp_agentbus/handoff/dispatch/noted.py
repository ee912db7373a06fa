# SPDX-License-Identifier: Apache-2.0
"""By what ways an agent's tasks came, noted in files for the other processes of the agent.

>>> memory = CauseMemory(of_sessions(folder, "coder"), session.claims)
>>> session.claims.on_way = memory.note

There are two files for an agent: what its shells hold and have ended, and servers that are started
for a single call; and the same of its sessions that live. `memory` says who goes on from which.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.core import text
from mcp_agentbus.core.files import check_private, own_folder, read_whole, unusable, write_whole
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.handoff.claims import Claims
from mcp_agentbus.handoff.dispatch.cause import Finished, Ways, at_end, earlier, said_of, way_of
from mcp_agentbus.handoff.shells import file_of
from mcp_agentbus.store.task import Task

_log = logging.getLogger(__name__)
# What is held is noted as if it ended now. While its session lives that is done again, so often
# that nobody takes it for one that ended long ago; in seconds.
_AGAIN_S: Final = 60
# A file of so many lines, some hundred, is written as one again.
_LONG_BYTES: Final = 1 << 14
# How a file says something else.
_OF_NO_USE: Final = (ValueError, LookupError, TypeError, AttributeError)


def of_sessions(folder: Path, agent: str) -> Path:
    """Return where the sessions of an agent that live note by what ways its tasks came."""
    return folder / f"served-{agent}.jsonl"


def ways_in(path: Path) -> Ways:
    """Return what a file says that `CauseMemory` has written; nothing if that is of no use.

    Raises:
        FileNotFoundError: there is none.
        BadSetup: it is open to others, somebody else's, or a link.
    """
    try:
        return _read(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        _log.warning("%s", unusable(error, path, done="read"))
    return Ways()


def _read(path: Path) -> Ways:
    check_private(path)
    ways, of_no_use = Ways(), None
    for line in filter(None, read_whole(path).split(b"\n")):
        try:
            document = text.from_json(line)
            ended = document.get("ended") or []
            held = earlier(*way_of(document["held"])) if document.get("held") else None
            # Older versions have a single one there, and no list.
            for each in ended if isinstance(ended, list) else [ended]:
                ways.add(earlier(*way_of(each)))
        except _OF_NO_USE as error:
            of_no_use = error
            continue
        if "held" in document:
            ways.held_before = held
        if held:
            ways.add(held)
    if of_no_use:
        _log.warning("%s says nothing of use: %s", path, of_no_use)
    return ways


def note_ended(path: Path, *ways: Finished) -> None:
    """Note of more tasks in a file that others keep; where that cannot be, it is not known."""
    if ways:
        with suppress(OSError, AgentbusError):
            _write(path, {"ended": [said_of(way) for way in ways]})


def note_over(path: Path, task: Task) -> None:
    """Note that a task is over, or others', which the shells held whose file that is."""
    with suppress(OSError, AgentbusError):
        held = ways_in(path).held_before
        is_held = held is not None and (held.chain, held.hops) == (task.chain, task.hops)
        _write(path, {"ended": [said_of(at_end(task))], **({"held": None} if is_held else {})})


def note_renamed(folder: Path, old: str, new: str) -> None:
    """Have an agent go on under another name from all that is noted of it; it never fails."""
    for place in (file_of, of_sessions):
        with suppress(OSError, AgentbusError):
            note_ended(place(folder, new), *ways_in(place(folder, old)).lately)


def _write(path: Path, said: Mapping[str, Any]) -> None:
    line = json.dumps(said).encode() + b"\n"
    if not _is_added(path, line):
        own_folder(path.parent)
        # A loss of power may take it: it counts for ten minutes.
        write_whole(path, _as_one(path) + line, durable=False)


def _is_added(path: Path, line: bytes) -> bool:
    """Add a line to a file, in one go, and beside others that do the same; tell if it is.

    It is not if the file is not there, has become long, or is not this user's alone.
    """
    try:
        check_private(path)
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, AgentbusError):
        return False
    try:
        is_short = os.fstat(file).st_size < _LONG_BYTES
        if is_short:
            os.write(file, b"\n" + line)  # the one before it may be without an end
    finally:
        os.close(file)
    return is_short


def _as_one(path: Path) -> bytes:
    """Return the line that says what the lines of a file say, as far as that is of use."""
    with suppress(OSError, AgentbusError):
        ways = _read(path)
        held = said_of(ways.held_before) if ways.held_before else None
        said = {"ended": [said_of(way) for way in ways.lately if way.goes_on], "held": held}
        return json.dumps(said).encode() + b"\n"
    return b""


class CauseMemory:
    """A file that says by what ways the tasks came that an agent holds, or has ended lately.

    A line of it is what was new for a session, so several may write it at once, and none waits for
    the disk as for a file that takes another's place. Without it all that is not known in other
    processes, and nothing else is lost.
    """

    def __init__(self, path: Path, claims: Claims) -> None:
        self._path, self._claims = path, claims
        #: What is known to stand there.
        self._noted = Ways()
        self._is_told = False

    def recall(self) -> None:
        """Go on from what other processes have noted; make the file if there is none.

        Raises:
            BadSetup: it is open to others, somebody else's, or a link; or its folder is.
        """
        try:
            self._noted = ways_in(self._path)
        except FileNotFoundError:
            with self._wherever_it_can_be():
                own_folder(self._path.parent)
                # By it the agent is known here, see `shells.agents`.
                with suppress(FileExistsError):
                    new = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                    os.write(new, b"{}")
                    os.close(new)
        for way in self._noted.lately:
            self._claims.ways.add(way)
        self._claims.ways.held_before = self._noted.held_before

    def note(self) -> None:
        """Write down what the claims are and were, unless that stands there; it never fails."""
        ways = self._claims.ways
        tasks = (claim.task for claim in self._claims.values())
        deepest = max(tasks, key=lambda task: task.hops, default=None)
        held = at_end(deepest) if deepest else None
        if self._stands(held):
            return
        before = held or ways.held_before  # at which no command has looked since
        new = self._new()
        said = {
            "ended": [said_of(way) for way in new],
            "held": said_of(before) if before else None,
        }
        with self._wherever_it_can_be():
            _write(self._path, said)
            for way in (*new, *([before] if before else [])):
                self._noted.add(way)
            self._noted.held_before = before

    def _stands(self, held: Finished | None) -> bool:
        """Tell whether what was ended is noted, and so is what is held, not long ago."""
        ways, noted = self._claims.ways, self._noted.held_before
        if self._new():
            return False
        if held is None or noted is None:
            return noted is (held or ways.held_before)
        is_same = (noted.hops, noted.chain) == (held.hops, held.chain)
        return is_same and time.monotonic() - noted.at_monotonic < _AGAIN_S

    def _new(self) -> list[Finished]:
        """Return what goes on of what was ended, and is not noted."""
        going_on = (way for way in self._claims.ways.lately if way.goes_on)
        known = self._noted.lately
        return [way for way in going_on if not any(way.is_hidden_by(each) for each in known)]

    @contextmanager
    def _wherever_it_can_be(self) -> Generator[None]:
        """Write the file; where that cannot be, say so once and go on without."""
        why: object = None
        try:
            yield
        except OSError as error:
            why = unusable(error, self._path, done="written")
        except AgentbusError as error:
            why = error
        if why and not self._is_told:
            self._is_told = True
            _log.warning("%s", why)
