# SPDX-License-Identifier: Apache-2.0
"""What each session was told of its mail, so that nothing is told twice.

    told = memory.of("cursor 1f0c")
    told.by_hook(things, lanes)        # Counts(high=1, others=0, results=0): new to this session
    told.by_hook(things, lanes)        # Counts(): it was told
    told.counts_for_wake({"task coder 7f"})     # True, once: no notice need say the same

Mail reaches the model of a live session by four channels. What each does here, for what waits when
it is used:

| channel | it says | what wakes, results | other lanes | stands for a notice |
|---|---|---|---|---|
| a hook | what this session was not told | told | told | of one later wake |
| a hook at a turn's end | the same, but no lanes | told | unchanged | of one later wake |
| a tool's answer | all, in its own text | told | told | of one later wake |
| a notice | how much waits in all | told | told by the next hook | no more: it was one |
| a wake that is under way | nothing yet | left to its notice | unchanged | no |

A wake whose things were all told by hooks is carried out without a notice, which uses them up; the
next wake for them is given one. If in doubt nothing is told: what waits is told again by the next
wake, and the same words twice are what users turn such things off for.

The keys are ids and numbers; of a task's text nothing is kept.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from mcp_agentbus.core import files
from mcp_agentbus.core.ids import PROBE
from mcp_agentbus.core.notices import Counts
from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import BadSetup
from mcp_agentbus.wakes.backlog import UnofferedLane
from mcp_agentbus.wakes.facts import Waiting

#: What a session is told of one by one, and how much of what waits no more is remembered. The key
#: of a task or result has 130 bytes at most.
KEYS_MAX: Final = 500
# More than a user has open; the session that asked least lately is forgotten first.
_SESSIONS_MAX: Final = 200


class News(NamedTuple):
    """What a hook finds that its session was not told of."""

    new: Counts
    #: Whether the session has it from a tool's answer or a notice, so that the hook is silent.
    is_known: bool


@dataclass
class Told:
    """What one session was told."""

    #: Of tasks that wake, and results: those that wait no more, then those that do.
    keys: list[str] = field(default_factory=list)
    #: Of a lane: when its stream was made, and the last task's sequence.
    marks: dict[str, tuple[str, int]] = field(default_factory=dict)
    #: Those of the keys that a hook told, and that have stood for no wake's notice yet.
    uncounted: list[str] = field(default_factory=list)
    #: Whether a notice was the last to tell something; not kept.
    noticed: bool = field(default=False, compare=False)

    def seen(self, lane: str, made: str) -> int:
        """Return the sequence of the last task in a lane that the session was told of."""
        known, sequence = self.marks.get(lane, ("", 0))
        return sequence if known == made else 0

    def by_hook(self, things: Sequence[Waiting], lanes: Sequence[UnofferedLane]) -> Counts:
        """Remember these as told by a hook; return how many of them were not told before."""
        known, waiting = set(self.keys), [thing.key for thing in things]
        new = [thing for thing in things if thing.key not in known]
        later = [lane for lane in lanes if lane.last > self.seen(lane.name, lane.made)]
        gone = known - set(waiting)
        self.keys = [*[key for key in self.keys if key in gone][-KEYS_MAX:], *waiting]
        still = [key for key in self.uncounted if key in waiting]
        self.uncounted = [*still, *(thing.key for thing in new)]
        self.marks |= {lane.name: (lane.made, lane.last) for lane in later}
        tasks = [thing.priority for thing in new if thing.kind == "task"]
        high = tasks.count("high")
        others = len(tasks) - high + sum(lane.new for lane in later)
        answers = sum(thing.kind == "answer" for thing in new)
        return Counts(high, others, len(new) - len(tasks) - answers, answers)

    def by_notice(self, things: Sequence[Waiting]) -> None:
        """Remember these as told by a notice: no hook tells them, each later wake does."""
        uncounted = set(self.uncounted) - {thing.key for thing in things}
        self.by_hook(things, ())
        self.uncounted, self.noticed = sorted(uncounted), True

    def counts_for_wake(self, keys: Collection[str]) -> bool:
        """Tell whether hooks have told all these, which stands for the notice of one wake."""
        if not keys or not set(keys) <= set(self.uncounted):
            return False
        self.uncounted = [key for key in self.uncounted if key not in keys]
        return True

    def for_hook(
        self,
        things: Sequence[Waiting],
        lanes: Sequence[UnofferedLane],
        *,
        under_way: Collection[str],
        urgent: bool,
        answered: bool,
    ) -> News:
        """Remember what a hook finds as told; return what is new of it.

        Args:
            things: the tasks that wake its agent, and the results, that wait.
            lanes: the other tasks that wait; none if it is `urgent`.
            under_way: the keys of what a wake has told, or is about to: the session that gets it
                reads them, or they are told later.
            urgent: the hook is one at the end of a turn.
            answered: a tool's answer has just told all that waits.
        """
        to_tell = [thing for thing in things if thing.key not in under_way]
        if self.noticed and not urgent:
            # The notice has just named the numbers of all that waits, in the other lanes as well.
            answered, self.noticed = answered or len(to_tell) < len(things), False
        return News(self.by_hook(to_tell[:KEYS_MAX], lanes), is_known=answered)


class Memory:
    """What sessions were told: a 0600 file of this listener, as it was last read and written."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._sessions: dict[str, Told] | None = None

    def of(self, conversation: str) -> Told:
        """Return what a session was told, by its host and the host's id; changed in place."""
        if conversation.partition(" ")[2].startswith(PROBE):
            return Told()
        sessions = self._all()
        told = sessions[conversation] = sessions.pop(conversation, Told())
        while len(sessions) > _SESSIONS_MAX:
            del sessions[next(iter(sessions))]
        return told

    def counts_for_wake(self, conversations: Iterable[str], keys: Collection[str]) -> bool:
        """Do as `Told.counts_for_wake` for the first of these sessions that was told, and save."""
        sessions = self._all()
        for conversation in conversations:
            if conversation in sessions and sessions[conversation].counts_for_wake(keys):
                self.save()
                return True
        return False

    def save(self) -> None:
        """Keep it for the next listener; one that cannot tells some things again."""
        kept = {
            conversation: _kept(told)
            for conversation, told in self._all().items()
            if told != Told()
        }
        with suppress(OSError):
            content = json.dumps(kept, separators=(",", ":")).encode()
            files.write_whole(self._file, content, durable=False)

    def _all(self) -> dict[str, Told]:
        if self._sessions is None:
            self._sessions = self._load()
        return self._sessions

    def _load(self) -> dict[str, Told]:
        try:
            files.check_private(self._file)
            kept = from_json(files.read_whole(self._file, files.HOSTS_MAX_BYTES))
            return {conversation: _told(fields) for conversation, fields in kept.items()}
        except (
            OSError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            BadSetup,
        ):
            return {}


def _kept(told: Told) -> dict[str, Any]:
    """Return what the file has of a session; its words are those of the first version."""
    return {"keys": told.keys, "marks": told.marks, "fresh": told.uncounted}


def _told(kept: Mapping[str, Any]) -> Told:
    marks = {lane: (str(made), int(seq)) for lane, (made, seq) in kept["marks"].items()}
    keys, uncounted = ([str(key) for key in kept[name]] for name in ("keys", "fresh"))
    return Told(keys, marks, uncounted)
