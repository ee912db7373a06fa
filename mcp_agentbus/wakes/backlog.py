# SPDX-License-Identifier: Apache-2.0
"""The tasks that wait in lanes that wake nobody, and how many of them are new to a session.

    >>> await unseen(bus, me, await stored(bus, me.inboxes), seen, ("normal", "low"))
    (UnofferedLane(name='coder_normal', made='2026-11-21T10:00:00Z', last=9, new=1),)

Where few are stored each was looked at; where many are, how many wait is compared with numbers of
the server's. Say that tasks 3, 4, 6 and 9 are stored in coder's normal lane, and that its sessions
were offered those up to 4, and hold them. Then 6 and 9 wait, the last is 9, and new are, to a
session that was told of all

    up to 9    none: the lane has no later one
    up to 6    1: those after 6 are counted, as far as it pays
    up to 4    2: all that wait, since it was told of none of them
    up to 0    2: the same, as of a session that was told of nothing yet

What was given back waits as well, and is new to whoever was told of none of those that wait.

Nothing is taken, and nothing is remembered here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.aio import together
from mcp_agentbus.core.ids import Agent, Priority
from mcp_agentbus.store import queues, subjects
from mcp_agentbus.store.queries import consumers
from mcp_agentbus.store.queues import Lane
from mcp_agentbus.store.subjects import TASKS
from mcp_agentbus.wakes.demand import strangers_to

# Of so many new tasks in a lane their number is told; where more are new, that of all that wait.
_NEWER_MAX: Final = 50

#: Returns the sequence of the last task that a session was told of, in the lane of this name of
#: the stream that was made then; 0 if it was told of none.
Seen = Callable[[str, str], int]


@dataclass(frozen=True)
class InboxStored:
    """What is stored for one inbox, offered or not."""

    inbox: str
    #: When the stream was made: in another one all numbers begin anew.
    made: str
    #: How many tasks, by their subject.
    tasks: Mapping[str, int]


@dataclass(frozen=True)
class UnofferedLane:
    """The tasks of one lane that no session has, as one session sees them."""

    name: str
    #: As of `InboxStored`.
    made: str
    #: The last task's sequence; tasks are offered in this order.
    last: int
    #: How many of them the session was not told of, if it was not told of the last one.
    new: int


async def stored(bus: Bus, inboxes: Sequence[str]) -> list[InboxStored]:
    """Return what is stored for each of these inboxes.

    Raises:
        ApiError: there is no stream of tasks. Of all reads only this one says so at once.
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    return await together(*(_stored(bus, inbox) for inbox in inboxes))


async def _stored(bus: Bus, inbox: str) -> InboxStored:
    wanted = {"subjects_filter": subjects.task_subject(inbox, "*", "*")}
    info = await bus.api(f"STREAM.INFO.{TASKS}", wanted)
    return InboxStored(inbox, str(info["created"]), info["state"].get("subjects") or {})


async def unseen(
    bus: Bus, me: Agent, inboxes: Sequence[InboxStored], seen: Seen, priorities: Sequence[Priority]
) -> tuple[UnofferedLane, ...]:
    """Return those of these lanes in which tasks wait, with how many are new to a session of `me`.

    What that agent does not take is left out where each task is looked at.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    places = [(there, lane) for there in inboxes for lane in priorities]
    lanes = await together(*(_lane(bus, me, *place, seen) for place in places))
    return tuple(lane for lane in lanes if lane)


async def _lane(
    bus: Bus, me: Agent, there: InboxStored, lane: Priority, seen: Seen
) -> UnofferedLane | None:
    """Return a lane; None if no task waits in it."""
    of_lane = subjects.task_subject(there.inbox, lane, "*").removesuffix("*")
    if not any(count for task, count in there.tasks.items() if task.startswith(of_lane)):
        return None
    name = subjects.lane_consumer(there.inbox, lane)
    told = seen(name, there.made)
    looked = await queues.look(bus, there.inbox, lane)
    if looked.tasks is None:
        return await _of_many(bus, there, lane, told, looked)
    strangers = await strangers_to(bus, me, {task.sender for task in looked.tasks.values()})
    taken = [seq for seq, task in looked.tasks.items() if task.sender not in strangers]
    if not taken:
        return None
    return UnofferedLane(name, there.made, max(taken), sum(seq > told for seq in taken))


async def _of_many(
    bus: Bus, there: InboxStored, lane: Priority, told: int, looked: Lane
) -> UnofferedLane | None:
    """Return a lane in which many tasks are stored, as far as it pays to count them.

    `told` is up to which the session was told.
    """
    name, waits = subjects.lane_consumer(there.inbox, lane), looked.count
    subject = subjects.task_subject(there.inbox, lane, "*")
    if looked.last:
        return UnofferedLane(name, there.made, looked.last, waits if told < looked.last else 0)
    last = await bus.last(TASKS, subject) if waits else None
    if not last:
        return None
    new = waits
    consumer = await consumers.info(bus, TASKS, name)
    offered = consumer.last if consumer else 0
    if offered < told < last.seq:  # some of those that wait were told
        request = {"seq": told + 1, "batch": _NEWER_MAX, "next_by_subj": subject}
        newer = len(await bus.many(TASKS, request))
        new = newer if newer < _NEWER_MAX else waits
    return UnofferedLane(name, there.made, last.seq, new)
