# SPDX-License-Identifier: Apache-2.0
"""What waits, by lanes: never claimed, held by a session that is gone, or of other producers.

    >>> resting(here)[0]
    Rests(inbox='coder', priority='high', is_word=False, count=2, oldest=Past(...))

Pure. Words stand beside the tasks of their lane: they wake nobody, and must not hide what does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mcp_agentbus.archive.past import Past
from mcp_agentbus.core.ids import LANES, Priority
from mcp_agentbus.overview.known import Known
from mcp_agentbus.store.queues import Lane
from mcp_agentbus.store.task import Task


@dataclass(frozen=True)
class Rests:
    """Tasks that nobody holds, of one lane."""

    inbox: str
    priority: Priority
    is_word: bool  #: They want no answer, and wake nobody.
    count: int
    oldest: Past | None
    is_early: bool = False

    def order(self) -> tuple[bool, int, bool, float]:
        """Return what sorts it: what may be read now before what may not, high before low."""
        since = self.oldest.created_at.timestamp() if self.oldest else 0.0
        return self.is_early, LANES.index(self.priority), self.is_word, since


def resting(here: Known) -> list[Rests]:
    """Return what waits: never claimed, held by a session that is gone, or of other producers."""
    lanes: dict[tuple[str, Priority, bool, bool], Rests] = {
        (some.inbox, some.priority, some.is_word, some.is_early): Rests(
            some.inbox, some.priority, some.is_word, some.count, some.oldest, some.is_early
        )
        for some in here.resting
    }
    for task in here.held:
        if here.holder_lives(task) is False:
            place = task.inbox, task.priority, task.expect == "nothing"
            some = lanes.get((*place, False))
            oldest = task
            if some and some.oldest and some.oldest.created_at < task.created_at:
                oldest = some.oldest
            lanes[*place, False] = Rests(*place, 1 + (some.count if some else 0), oldest)
    for (inbox, priority), lane in here.lanes.items():
        words = lanes.get((inbox, priority, True, False))
        for is_word, count, first in _in(lane, words.count if words else 0):
            place = inbox, priority, is_word
            some = lanes.get((*place, False))
            if count > (some.count if some else 0):
                known = some.oldest if some else None
                shown = known or (here.unlisted(first) if first else None)
                lanes[*place, False] = Rests(*place, count, shown)
    return sorted(lanes.values(), key=Rests.order)


def _in(lane: Lane, words: int) -> Iterable[tuple[bool, int, Task | None]]:
    """Return whether they are words, how many, and the first, where it is known which those are.

    Args:
        lane: what waits in it.
        words: so many of them are known as such, where only their number is.
    """
    if lane.tasks is None:
        yield False, lane.count - words, None
        return
    for is_word in (False, True):
        if tasks := [one for one in lane.tasks.values() if (one.expect == "nothing") == is_word]:
            yield is_word, len(tasks), tasks[0]
