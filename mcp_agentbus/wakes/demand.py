# SPDX-License-Identifier: Apache-2.0
"""What waits for an agent and may wake it; looked at from outside, nothing taken.

    >>> (await look(bus, "coder", ("coder",))).counts
    Counts(high=1, others=4, results=0)

The answer is made anew at each look from what is stored, so it does not matter which signs of it
were missed: a listener that slept, or died, finds the same.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Container, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Found
from mcp_agentbus.core.aio import both, together
from mcp_agentbus.core.ids import LANES, WAKE_ON, Agent, Priority, accepts, is_role_address
from mcp_agentbus.core.notices import Counts
from mcp_agentbus.store import queues, roster, subjects, unseen
from mcp_agentbus.store.queries import read_back
from mcp_agentbus.store.subjects import TASKS
from mcp_agentbus.store.task import Record, Task
from mcp_agentbus.wakes import answers
from mcp_agentbus.wakes.facts import Waiting

# A wake names at most so many tasks of one sender, and senders; the rest is in the counts.
_TASKS_MAX: Final = 50
_SENDERS_MAX: Final = 50
_RESULTS_MAX: Final = 100
# Records that are searched for results: a hook waits for the answer, and a notice may be late.
_RECORDS_MAX: Final = 1_000


@dataclass(frozen=True)
class Demand:
    """What waits."""

    counts: Counts
    #: Tasks in lanes that wake, which no live session holds; results that no session was shown;
    #: answers that the sessions which have asked are not known to have.
    things: tuple[Waiting, ...]
    #: The records of held tasks with a question; of lanes in which many tasks lie none.
    asking: tuple[Record, ...] = ()


async def look(
    bus: Bus,
    agent: str,
    inboxes: Sequence[str],
    known: Container[str] = (),
    wake_on: Sequence[Priority] = WAKE_ON,
) -> Demand:
    """Return what waits for an agent in its inboxes, and which of its results nobody has seen.

    Args:
        bus: where it waits.
        agent: whose results.
        inboxes: whose tasks.
        known: senders whose tasks are looked at whoever else has sent some.
        wake_on: the lanes that wake it.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    rest = [lane for lane in LANES if lane not in wake_on]
    # All at once: a task that wakes it waits for the slowest of them only.
    waking, others = await both(
        look_for_waking(bus, agent, inboxes, known, wake_on),
        together(*(queues.look_together(bus, inboxes, lane) for lane in rest)),
    )
    asking = (*waking.asking, *(record for lane in others for record in lane.asking))
    told = await answers.to_holders(bus, asking)
    counts = replace(
        waking.counts,
        others=waking.counts.others + sum(lane.count for lane in others),
        answers=len(told),
    )
    return Demand(counts, (*waking.things, *told), asking)


async def look_for_waking(
    bus: Bus,
    agent: str,
    inboxes: Sequence[str],
    known: Container[str] = (),
    wake_on: Sequence[Priority] = WAKE_ON,
) -> Demand:
    """Return the same, but for how many tasks wait in lanes that wake nobody, and for answers.

    Raises: as `look`.
    """
    urgent, results = await both(
        look_for_urgent(bus, inboxes, known, wake_on), _results(bus, agent)
    )
    counts = replace(urgent.counts, results=len(results))
    return replace(urgent, counts=counts, things=(*urgent.things, *results))


async def look_for_urgent(
    bus: Bus,
    inboxes: Sequence[str],
    known: Container[str] = (),
    wake_on: Sequence[Priority] = WAKE_ON,
) -> Demand:
    """Return the tasks in lanes that wake, alone: in the least time.

    Raises: as `look`.
    """
    places = [(inbox, priority) for priority in wake_on for inbox in inboxes]
    lanes = await together(*(_lane(bus, *place, known) for place in places))
    high = sum(lane.count - lane.words for lane in lanes if lane.priority == "high")
    counts = Counts(high, sum(lane.count for lane in lanes) - high)
    things = tuple(task for lane in lanes for task in lane.tasks)
    return Demand(counts, things, tuple(record for lane in lanes for record in lane.asking))


async def judged(bus: Bus, agent: Agent, looked: Demand) -> Demand:
    """Return the same, with what the agent does not take said to be so, and not counted.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `roster.look`.
    """
    waiting_tasks = [thing for thing in looked.things if thing.kind == "task"]
    strangers = await strangers_to(bus, agent, {thing.sender for thing in waiting_tasks})
    refused = [thing.priority for thing in waiting_tasks if thing.sender in strangers]
    if not refused:
        return looked
    high = refused.count("high")
    counts = replace(
        looked.counts,
        high=max(0, looked.counts.high - high),
        others=max(0, looked.counts.others - (len(refused) - high)),
    )
    things = tuple(
        replace(thing, accepted=thing.kind != "task" or thing.sender not in strangers)
        for thing in looked.things
    )
    return replace(looked, counts=counts, things=things)


async def strangers_to(bus: Bus, agent: Agent, senders: Collection[str]) -> frozenset[str]:
    """Return those of these senders whose tasks an agent does not take.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `roster.look`.
    """
    strangers = {who for who in senders if not accepts(agent.id, agent.accept_from, who)}
    if strangers and any(map(is_role_address, agent.accept_from)):
        entries = await together(*(roster.look(bus, who) for who in strangers))
        strangers -= {
            entry.id
            for entry in entries
            if entry and accepts(agent.id, agent.accept_from, entry.id, entry.roles)
        }
    return frozenset(strangers)


@dataclass(frozen=True)
class _Lane:
    """The tasks of a lane of an inbox that no live session holds."""

    priority: Priority
    count: int
    #: The oldest first; where many are stored, the oldest of each sender.
    tasks: list[Waiting]
    #: Of those that are counted: what wants no answer, and so wakes nobody.
    words: int = 0
    #: As `queues.Lane.asking`.
    asking: tuple[Record, ...] = ()


async def _lane(bus: Bus, inbox: str, priority: Priority, known: Container[str]) -> _Lane:
    lane = await queues.look_soon(bus, inbox, priority)
    if lane.tasks is not None:
        there = [(task, lane.records.get(seq)) for seq, task in lane.tasks.items()]
        wakes = await _that_wake(bus, there, priority)
        words = lane.count - len(wakes)
        return _Lane(priority, lane.count, wakes, words=words, asking=lane.asking)
    oldest = await _oldest(bus, inbox, priority, known)
    seen = await together(*(read_back.look_at(bus, stored) for stored in oldest))
    there = [
        (each.task, each.record)
        for each in seen
        if isinstance(each, read_back.Seen) and not await _is_held(bus, each)
    ]
    wakes = await _that_wake(bus, there, priority)
    return _Lane(priority, max(lane.count, len(there)), wakes, words=len(there) - len(wakes))


async def _oldest(bus: Bus, inbox: str, priority: Priority, known: Container[str]) -> list[Found]:
    """Return a lane's oldest tasks of each sender; of many senders, of those that are known first.

    One sender's flood, which its limits may hold, must not hide the task of another one, nor must
    a flood under many names: of those that nobody knows each look takes others.
    """
    there = list(await queues.stored_tasks(bus, subjects.task_subject(inbox, priority, "*")))
    random.shuffle(there)
    there.sort(key=lambda subject: subjects.parts(subject).rest[1] not in known)
    of_senders = (_first(bus, subject) for subject in there[:_SENDERS_MAX])
    return [task for of_sender in await together(*of_senders) for task in of_sender]


async def _first(bus: Bus, subject: str) -> list[Found]:
    """Return the oldest tasks under a subject, large ones no more than are read at once."""
    async with aclosing(bus.stored(TASKS, subject, page=_TASKS_MAX)) as pages:
        return await anext(pages)


async def _is_held(bus: Bus, seen: read_back.Seen) -> bool:
    return seen.record is not None and await roster.may_hold(bus, seen.record)


async def _that_wake(
    bus: Bus, there: Sequence[tuple[Task, Record | None]], priority: Priority
) -> list[Waiting]:
    """Return the tasks that may wake somebody, which words do not."""
    wanted = [(task, record) for task, record in there if task.expect == "answer"]
    missing = await together(*(answers.is_missing(bus, record) for _, record in wanted))
    return [
        Waiting.of_task(task.id, task.sender, task.to, priority, unanswered=is_missing)
        for (task, _), is_missing in zip(wanted, missing, strict=True)
    ]


async def _results(bus: Bus, agent: str) -> list[Waiting]:
    """Return the ends of sent tasks that no session of the agent has been shown yet."""
    ends: list[Waiting | None] = []
    async with aclosing(unseen.look_through(bus, agent, search_max=_RECORDS_MAX)) as parts:
        async for some in parts:
            ends += [_result(each.record, each.revision) for each in some]
            if len(ends) >= _RESULTS_MAX:
                break
    return [end for end in ends[:_RESULTS_MAX] if end]


def _result(record: Record, revision: int) -> Waiting | None:
    """Return what wakes somebody by a result; None of one of which nobody wants to be told."""
    if record.notify == "never":
        return None
    return Waiting(
        key=f"result {record.task_id} {revision}",
        kind="result",
        task_id=record.task_id,
        sender=record.inbox,
        owner=record.owner,
        inbox=record.inbox,
        live_only=record.notify != "wake",
        session=record.owner_session,
    )
