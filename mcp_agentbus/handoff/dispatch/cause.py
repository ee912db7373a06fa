# SPDX-License-Identifier: Apache-2.0
"""What a task that is sent now goes on from: how the tasks had come that its sender had lately.

>>> ways = Ways()
>>> ways.add(at_end(task))
>>> ways.cause(held=())
(('planner',), 1)
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from mcp_agentbus.core import ids, text
from mcp_agentbus.store.task import CLAIM_MAX_S, HOPS_MAX, Task, utc

# A task sent this soon after the end of another still counts as caused by it, in seconds.
CAUSE_LINGERS_S: Final = 600
#: The id of the task that a worker's handler is called for: it sends for that one and for no other.
AT_WORK: Final[ContextVar[str]] = ContextVar("at_work", default="")


@dataclass(frozen=True)
class Finished:
    """How a task had come that a session has ended: what it sends next may go on from there."""

    chain: tuple[str, ...]
    hops: int
    #: For another process, and for this one: the clock may be set, the monotonic one may not.
    at: datetime
    at_monotonic: float

    @property
    def goes_on(self) -> bool:
        """Whether what is sent now still counts as caused by it."""
        return self._is_younger(CAUSE_LINGERS_S)

    @property
    def may_be_held(self) -> bool:
        """Whether a shell that held it then may hold it yet."""
        return self._is_younger(CLAIM_MAX_S)

    def _is_younger(self, than_s: float) -> bool:
        return time.monotonic() - self.at_monotonic < than_s

    def is_hidden_by(self, other: Finished) -> bool:
        """Whether it is never the deepest, as the other one is as deep and goes on as long."""
        return other.hops >= self.hops and other.at_monotonic >= self.at_monotonic


class Ways:
    """How the tasks had come that a session has ended lately, whatever it has ended since."""

    def __init__(self) -> None:
        #: Those that are, or will be, the deepest that goes on: one of each number of hops at most.
        self.lately: tuple[Finished, ...] = ()
        #: The deepest that its shell held when a command looked last; None once this one has.
        self.held_before: Finished | None = None
        #: By the id of a held task and an inbox, that of the task that was sent there for it.
        self._sent_for: dict[tuple[str, str], str] = {}

    def add(self, way: Finished) -> None:
        """Go on from there as well."""
        if not any(way.is_hidden_by(each) for each in self.lately):
            kept = (each for each in self.lately if each.goes_on and not each.is_hidden_by(way))
            self.lately = (*kept, way)

    @property
    def deepest(self) -> Finished | None:
        """The one by which most agents were passed, of those that go on."""
        going_on = (each for each in self.lately if each.goes_on)
        return max(going_on, key=lambda way: way.hops, default=None)

    def alone(self, held: Iterable[Task], inbox: str, task_id: str) -> Task | None:
        """Return the held task from which alone one goes on that is sent to an inbox, if any.

        The least deep that has none there yet: each has one, so what is sent for it goes deeper,
        and what comes back has to go on from something else. A word has none: it asks for nothing.
        """
        asking = {task.id: task for task in held if task.expect != "nothing"}
        sent = self._sent_for = {at: on for at, on in self._sent_for.items() if at[0] in asking}
        free = (task for task in asking.values() if sent.get((task.id, inbox), task_id) == task_id)
        if first := min(free, key=lambda task: task.hops, default=None):
            sent[first.id, inbox] = task_id
        return first

    def sent_for(self, held: str) -> dict[str, str]:
        """Return the tasks that were sent for a held one alone, by inbox, for its next session."""
        return {inbox: on for (each, inbox), on in self._sent_for.items() if each == held}

    def recall_sent(self, held: str, sent: Mapping[str, str]) -> None:
        """Take up what `sent_for` has told, where anybody may have told it.

        Raises:
            ValueError, TypeError: it tells something else.
        """
        for inbox, task_id in dict(sent).items():
            if ids.is_inbox(inbox) and ids.is_task_id(task_id):
                self._sent_for[held, inbox] = task_id

    def left(self, held: Iterable[Task]) -> list[Finished]:
        """Return all that goes on at the end of who holds this: what ended before ends no later."""
        return [*map(at_end, held), *(each for each in self.lately if each.goes_on)]

    def cause(self, held: Iterable[Task]) -> tuple[tuple[str, ...], int]:
        """Return the chain and hops that a task sent now continues; ((), -1) if none.

        The deepest counts of what is held and what was ended lately: else a small task, held or
        ended beside it, would begin the count of a circle anew.
        """
        before = self.held_before if self.held_before and self.held_before.may_be_held else None
        ways: list[Task | Finished] = [*held, *filter(None, (before, self.deepest))]
        deepest = max(ways, key=lambda way: way.hops, default=None)
        return (deepest.chain, deepest.hops) if deepest else ((), -1)


def at_end(task: Task) -> Finished:
    """Return how a task had come that ends at this moment."""
    return Finished(task.chain, task.hops, text.now(), time.monotonic())


def earlier(chain: Iterable[str], hops: int, at: datetime) -> Finished:
    """Return how a task had come that an earlier process ended, at that time by its clock."""
    ago_s = max(0.0, (text.now() - at).total_seconds())  # the clock may have been set back
    return Finished(tuple(chain), hops, at, time.monotonic() - ago_s)


def said_of(finished: Finished) -> dict[str, Any]:
    """Return how a task had come that a session ended, as that session says it; for JSON."""
    at = min(finished.at, text.now())  # a clock that was ahead would have it go on for ever
    return {"chain": finished.chain, "hops": finished.hops, "at": at.isoformat()}


def way_of(ended: Mapping[str, Any]) -> tuple[list[str], int, datetime]:
    """Return what was said so, where anybody may have said it.

    Raises:
        ValueError, LookupError, TypeError: it says something else.
    """
    at, hops = utc(datetime.fromisoformat(ended["at"])), int(ended["hops"])
    if not 0 <= hops <= HOPS_MAX:
        raise ValueError("no task comes so far")
    return [*filter(ids.is_agent, map(str, ended["chain"]))], hops, at
