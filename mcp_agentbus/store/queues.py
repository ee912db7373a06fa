# SPDX-License-Identifier: Apache-2.0
"""What waits in an inbox: the open tasks that no live session holds, by lane.

    >>> await counts(bus, ("coder",))
    {'high': 1, 'normal': 4, 'low': 0}

The server counts what it has not handed out yet. That number has in it what was withdrawn and what
has expired, until a reader comes by, and lacks what was given back, or held by a session that died.
So where few tasks are stored each of them is looked at; where many are, the first that were handed
out, by which the others are reckoned, and what was not is the server's number. Nothing is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import ApiError, Found
from mcp_agentbus.core.aio import both, together
from mcp_agentbus.core.ids import LANES, Priority
from mcp_agentbus.errors import NotAllowed
from mcp_agentbus.store import roster, subjects
from mcp_agentbus.store.queries import consumers, read_back
from mcp_agentbus.store.queries.clock import has_come
from mcp_agentbus.store.queries.consumers import ConsumerInfo
from mcp_agentbus.store.queries.counted import stored_subjects
from mcp_agentbus.store.records import lasts, record_in
from mcp_agentbus.store.steps import question_of
from mcp_agentbus.store.subjects import TASKS
from mcp_agentbus.store.task import HELD, Record, Task, Undecodable

#: Of so many stored tasks in a lane each is looked at. Hooks and readers wait for the answer.
LOOKED_AT_MAX: Final = 50
#: Of what a lane with many has handed out, so many are looked at, and as many again as long as
#: sessions hold all of those: that nothing waits is never a guess.
OUT_MAX: Final = 100
_NONE: Final[Mapping[tuple[str, str], int]] = MappingProxyType({})


@dataclass(frozen=True)
class Lane:
    """One lane of an inbox, or the same lane of several."""

    #: Open tasks that no live session holds.
    count: int = 0
    #: Tasks that one holds; where nobody may look at them, all that was handed out.
    held: int = 0
    #: What is counted, by sequence, the oldest first; None where the server has counted some.
    tasks: Mapping[int, Task] | None = field(default_factory=dict)
    #: What stands of those that were looked at, as far as they have been claimed before.
    records: Mapping[int, Record] = field(default_factory=dict)
    #: Of the tasks that one holds, the records of those that it has asked something about.
    asking: tuple[Record, ...] = ()
    #: Of those that are counted, by a look at each: how many sessions have by their records that
    #: are gone. A server offers them again up to half a minute after the last sign of life.
    gone: int = 0
    #: Where all that waits was handed out before, and looked at: its last, by sequence; else 0.
    last: int = 0

    @property
    def free(self) -> int:
        """How many of those that are counted nobody has by a record, by a look at each."""
        return 0 if self.tasks is None else self.count - self.gone


async def counts(
    bus: Bus, inboxes: Sequence[str], lanes: Sequence[Priority] = LANES
) -> dict[Priority, int]:
    """Return how many tasks wait in these inboxes, for each of `lanes`, in their order.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    looked = await together(*(look_together(bus, inboxes, lane) for lane in lanes))
    return {priority: lane.count for priority, lane in zip(lanes, looked, strict=True)}


async def offered(
    bus: Bus,
    inboxes: Sequence[str],
    lanes: Sequence[Priority],
    own: Mapping[tuple[str, str], int] = _NONE,
) -> dict[Priority, int]:
    """Return the server's numbers: what the next reads take from, or find to be over.

    Where more was handed out than its reader holds, what waits of that is looked at.

    Args:
        bus: where it waits.
        inboxes: whose.
        lanes: which of them.
        own: how many tasks whoever asks holds, by inbox and lane.

    Raises: as `counts`.
    """
    places = [(inbox, lane) for lane in lanes for inbox in inboxes]
    told = await together(*(_offered(bus, place, own.get(place, 0)) for place in places))
    numbers = dict.fromkeys(lanes, 0)
    for (_, lane), count in zip(places, told, strict=True):
        numbers[lane] += count
    return numbers


async def _offered(bus: Bus, place: tuple[str, Priority], own: int) -> int:
    there = await _handed_out(bus, *place)
    return there.waiting if there.taken <= own else (await _of_many(bus, place, there)).count


async def look_together(bus: Bus, inboxes: Sequence[str], priority: Priority) -> Lane:
    """Return one lane of several inboxes as one, without its tasks.

    Raises: as `counts`.
    """
    lanes = await together(*(look(bus, inbox, priority) for inbox in inboxes))
    return Lane(
        count=sum(lane.count for lane in lanes),
        held=sum(lane.held for lane in lanes),
        tasks=None,
        asking=tuple(record for lane in lanes for record in lane.asking),
    )


async def look(bus: Bus, inbox: str, priority: Priority) -> Lane:
    """Return what waits in one lane of an inbox.

    Raises: as `counts`.
    """
    there = await _handed_out(bus, inbox, priority)
    if there.waiting + there.taken > LOOKED_AT_MAX:
        return await _of_many(bus, (inbox, priority), there)
    return await _lane(bus, (inbox, priority), there, await _few(bus, inbox, priority))


async def look_soon(bus: Bus, inbox: str, priority: Priority) -> Lane:
    """Return the same for whoever has heard that something was stored there: in less time.

    It reads what is stored beside asking how much waits; of many tasks in vain.

    Raises: as `counts`.
    """
    looks = both(_handed_out(bus, inbox, priority), _few(bus, inbox, priority))
    return await _lane(bus, (inbox, priority), *await looks)


async def _lane(
    bus: Bus, place: tuple[str, Priority], there: ConsumerInfo, messages: Sequence[Found] | None
) -> Lane:
    """Return a lane by its messages, if these are few: the server counts the last too late."""
    if messages is None:
        return _as_counted(there)
    if len(messages) <= LOOKED_AT_MAX:
        return await _looked_at(bus, messages) if messages else Lane()
    if there.waiting + there.taken <= LOOKED_AT_MAX:  # it is behind, or somebody has changed it
        stored = await stored_tasks(bus, subjects.task_subject(*place, "*"))
        there = replace(there, waiting=sum(stored.values()) - there.taken)
    return await _of_many(bus, place, there)


async def _of_many(bus: Bus, place: tuple[str, Priority], there: ConsumerInfo) -> Lane:
    """Return a lane by what it has handed out, which is looked at, and what the server counts."""
    rest, start, held = there.taken, there.floor + 1, Lane()
    while rest > 0:
        try:
            page = await bus.many(TASKS, _request(place, start, min(rest, OUT_MAX)))
        except NotAllowed:
            return _as_counted(there)
        page = [each for each in page if each.seq <= there.last]
        if not page:  # the rest was finished this moment
            break
        out = await _looked_at(bus, page)
        rest, start = rest - len(page), page[-1].seq + 1
        held = replace(held, held=held.held + out.held, asking=(*held.asking, *out.asking))
        if out.count:
            return _reckoned(there, held, out, looked_at=len(page), rest=rest)
    return replace(held, count=there.waiting, tasks=None)


def _reckoned(there: ConsumerInfo, held: Lane, out: Lane, *, looked_at: int, rest: int) -> Lane:
    """Return a lane of which a part was looked at: of the `rest` that was handed out as many wait.

    Args:
        there: what the server counts.
        held: what sessions hold of all that was looked at.
        out: the last page of that, of which some waits.
        looked_at: how many are on that page.
        rest: how many were handed out and not looked at.
    """
    more, more_gone = (rest * each // looked_at for each in (out.count, out.gone))
    is_all = not (there.waiting or rest)
    return Lane(
        count=there.waiting + out.count + more,
        held=held.held + rest - more,
        tasks=None,
        records=out.records,
        asking=held.asking,
        gone=out.gone + more_gone,
        last=max(out.tasks or {}, default=0) if is_all else 0,
    )


def _as_counted(there: ConsumerInfo) -> Lane:
    """Return a lane by the server's numbers alone."""
    return Lane(count=there.waiting, held=there.taken, tasks=None)


def _request(place: tuple[str, Priority], start: int, batch: int) -> dict[str, Any]:
    """Return what asks for a lane's first tasks from a sequence on."""
    subject = subjects.task_subject(*place, "*")
    return {"seq": start, "batch": batch, "next_by_subj": subject}


async def _few(bus: Bus, inbox: str, priority: Priority) -> list[Found] | None:
    """Return what is stored in a lane, of many one more than is looked at; None: not for us."""
    with suppress(NotAllowed):  # what waits for another account's agent is counted, and no more
        return await bus.many(TASKS, _request((inbox, priority), 1, LOOKED_AT_MAX + 1))
    return None


async def _handed_out(bus: Bus, inbox: str, priority: Priority) -> ConsumerInfo:
    there = await consumers.info(bus, TASKS, subjects.lane_consumer(inbox, priority))
    if there is None:
        subject = subjects.task_subject(inbox, priority, "*")
        return ConsumerInfo(sum((await stored_tasks(bus, subject)).values()), 0)
    return there


async def _looked_at(bus: Bus, messages: Sequence[Found]) -> Lane:
    open_tasks: dict[int, Task] = {}
    for message in messages:
        with suppress(Undecodable):  # no task; the next reader parks it
            task = read_back.decoded(message)
            if not await has_come(bus, task.expires_at):
                open_tasks[message.seq] = task
    records = await _records(bus, list(open_tasks.values()))
    standing = {seq: records.get(_subject(task)) for seq, task in open_tasks.items()}
    ended = {seq for seq, record in standing.items() if record and record.ended}
    taken = {seq: record for seq, record in standing.items() if record and record.state in HELD}
    by_holder = {_holder(record): record for record in taken.values()}
    live = await roster.are_held(bus, list(by_holder.values()))
    is_live = dict(zip(by_holder, live, strict=True))
    held = {seq for seq, record in taken.items() if is_live[_holder(record)]}
    waiting = {seq: task for seq, task in open_tasks.items() if seq not in ended | held}
    return Lane(
        count=len(waiting),
        held=len(held),
        tasks=waiting,
        records={seq: record for seq in waiting if (record := standing[seq])},
        asking=tuple(taken[seq] for seq in sorted(held) if question_of(taken[seq])),
        gone=len(taken.keys() - held),
    )


def _holder(record: Record) -> tuple[str, str, datetime | None]:
    """Return who has a task, for which one answer does; a lease has an end of its own."""
    ends = record.updated_at if roster.is_lease(record) else None
    return record.agent, record.session, ends


def _subject(task: Task) -> str:
    return subjects.record_subject(task.sender, task.to, task.id)


async def _records(bus: Bus, of: Sequence[Task]) -> dict[str, Record]:
    wanted = [_subject(task) for task in of]
    messages = await lasts(bus, wanted)
    return {message.subject: record for message in messages if (record := record_in(message))}


async def stocked(bus: Bus, inboxes: Sequence[str]) -> frozenset[tuple[str, Priority]] | None:
    """Return the lanes in which anything is stored, held tasks included; None: not for us to know.

    Raises: as `counts`.
    """
    looks = (stored_tasks(bus, subjects.task_subject(inbox, "*", "*")) for inbox in inboxes)
    try:
        stored = await together(*looks)
    except (ApiError, NotAllowed):
        return None
    names = [subjects.parts(subject) for there in stored for subject in there]
    places = {(each.whose, each.rest[0]) for each in names}
    return frozenset(
        (inbox, lane) for inbox in inboxes for lane in LANES if (inbox, lane) in places
    )


async def stored_tasks(bus: Bus, subject: str = "") -> dict[str, int]:
    """Return how many unfinished tasks are stored, by subject, held ones included.

    `subject` may have wildcards, and names all of them if it is empty.
    """
    return await stored_subjects(bus, TASKS, subject or subjects.task_subject("*", "*", "*"))
