# SPDX-License-Identifier: Apache-2.0
"""What waits for an agent and may wake it; looked at from outside, nothing taken.

    >>> (await look(bus, "coder", ("coder",))).counts
    Counts(high=1, others=4, results=0)

The answer is made anew at each look from what is stored, so it does not matter which signs of it
were missed: a listener that slept, or died, finds the same.
"""

from __future__ import annotations

import random
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Found
from mcp_agentbus.core.aio import both, together
from mcp_agentbus.core.notices import Counts
from mcp_agentbus.store import roster, subjects, tasks, unseen, waiting
from mcp_agentbus.store.subjects import TASKS
from mcp_agentbus.store.task import Record, Task
from mcp_agentbus.wakes.policy import Waiting

# A wake names at most so many tasks of one sender, and senders; the rest is in the counts.
_TASKS_MAX: Final = 50
_SENDERS_MAX: Final = 50
_RESULTS_MAX: Final = 100
# Records that are searched for results: a hook waits for the answer, and a notice may be late.
_RECORDS_MAX: Final = 1_000


@dataclass(frozen=True)
class Looked:
    """What waits."""

    counts: Counts
    #: High tasks that no live session holds, and results that no session was shown.
    things: tuple[Waiting, ...]


async def look(bus: Bus, agent: str, inboxes: Sequence[str], known: Container[str] = ()) -> Looked:
    """Return what waits for an agent in its inboxes, and which of its results nobody has seen.

    Args:
        bus: where it waits.
        agent: whose results.
        inboxes: whose tasks.
        known: senders whose tasks are looked at whoever else has sent some.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    # All at once: an urgent task waits for the slowest of them only.
    others, urgent = await both(
        waiting.counts(bus, inboxes, ("normal", "low")), look_for_urgent(bus, agent, inboxes, known)
    )
    counts = replace(urgent.counts, others=urgent.counts.others + sum(others.values()))
    return replace(urgent, counts=counts)


async def look_for_urgent(
    bus: Bus, agent: str, inboxes: Sequence[str], known: Container[str] = ()
) -> Looked:
    """Return the same, but for how many tasks wait in lanes that wake nobody.

    Raises: as `look`.
    """
    results, high = await both(_results(bus, agent), _high_tasks(bus, inboxes, known))
    words = sum(lane.words for lane in high)
    counts = Counts(sum(lane.count for lane in high) - words, words, len(results))
    return Looked(counts, (*(task for lane in high for task in lane.tasks), *results))


async def _high_tasks(bus: Bus, inboxes: Sequence[str], known: Container[str]) -> list[_High]:
    return await together(*(_high(bus, inbox, known) for inbox in inboxes))


@dataclass(frozen=True)
class _High:
    """The high tasks of an inbox that no live session holds."""

    count: int
    #: The oldest first; where many are stored, the oldest of each sender.
    tasks: list[Waiting]
    #: Of those that are counted: what wants no answer, and so wakes nobody.
    words: int = 0


async def _high(bus: Bus, inbox: str, known: Container[str]) -> _High:
    lane = await waiting.look(bus, inbox, "high")
    if lane.tasks is not None:
        wakes = [_task(task) for task in lane.tasks.values() if task.expect == "answer"]
        return _High(lane.count, wakes, lane.count - len(wakes))
    seen = await together(*(tasks.at(bus, stored) for stored in await _oldest(bus, inbox, known)))
    high_tasks = [
        each.task for each in seen if isinstance(each, tasks.Seen) and not await _is_held(bus, each)
    ]
    wakes = [_task(task) for task in high_tasks if task.expect == "answer"]
    return _High(max(lane.count, len(high_tasks)), wakes, len(high_tasks) - len(wakes))


async def _oldest(bus: Bus, inbox: str, known: Container[str]) -> list[Found]:
    """Return the oldest high tasks of each sender; of many senders, of those that are known first.

    One sender's flood, which its limits may hold, must not hide the task of another one, nor must
    a flood under many names: of those that nobody knows each look takes others.
    """
    there = list(await waiting.stored_tasks(bus, subjects.task_subject(inbox, "high", "*")))
    random.shuffle(there)
    there.sort(key=lambda subject: subjects.parts(subject).rest[1] not in known)
    of_senders = (
        bus.admin.many(TASKS, {"seq": 1, "batch": _TASKS_MAX, "next_by_subj": subject})
        for subject in there[:_SENDERS_MAX]
    )
    return [task for of_sender in await together(*of_senders) for task in of_sender]


async def _is_held(bus: Bus, seen: tasks.Seen) -> bool:
    return seen.record is not None and await roster.may_hold(bus, seen.record)


def _task(task: Task) -> Waiting:
    key = f"task {task.to} {task.id}"
    return Waiting(key, "task", task.id, task.sender, task.sender, task.to)


async def _results(bus: Bus, agent: str) -> list[Waiting]:
    """Return the ends of sent tasks that no session of the agent has been shown yet."""
    looked = await unseen.look_up(bus, agent, _RESULTS_MAX, search_max=_RECORDS_MAX)
    return [
        _result(end.record, end.revision) for end in looked.results if end.record.notify != "never"
    ]


def _result(record: Record, revision: int) -> Waiting:
    return Waiting(
        f"result {record.task_id} {revision}",
        "result",
        record.task_id,
        record.inbox,
        record.owner,
        record.inbox,
        live_only=record.notify != "wake",
        session=record.owner_session,
    )
