# SPDX-License-Identifier: Apache-2.0
"""Tasks as they are read back from the bus: found, decoded, and looked at; nothing is taken.

>>> await find(bus, record, 7)
(Task(id='9d0c...', ...), Found(subject='agentbus.coder.tasks.high.planner', seq=7, ...))
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Delivery, Found
from mcp_agentbus.store import codec, subjects
from mcp_agentbus.store.queries.clock import has_come
from mcp_agentbus.store.queries.numbered import numbered
from mcp_agentbus.store.records import read_record
from mcp_agentbus.store.task import Record, Repeating, State, Task, Undecodable

# Stored tasks in one answer, each of which may have 512 KiB.
_PAGE: Final = 100


def decoded(message: Delivery | Found) -> Task:
    """Return the task in a message of an inbox, or among the parked ones.

    Raises:
        Repeating: a schedule puts it there again and again.
        Undecodable: it is none, or another than its sender has scheduled it.
    """
    headers = message.headers
    if is_repeating(headers):
        raise Repeating("a schedule that repeats has put it there")
    task = codec.decode_task(message.subject, headers, message.data, message.stored_at)
    # The right to schedule is the right to name any target subject, hence any sender.
    scheduler = headers.get(subjects.H_SCHEDULER) or headers.get(subjects.H_SCHEDULED_BY)
    expected = subjects.scheduled_subject(task.to, task.priority, task.sender, task.id)
    if scheduler is not None and scheduler != expected:
        raise Undecodable("it was scheduled by another than its sender")
    return task


def is_repeating(headers: Mapping[str, str]) -> bool:
    """Tell by a message's headers whether it is, or comes from, a schedule that comes again.

    `tasks.put` makes none: other programs on the same server may.
    """
    schedule = headers.get(subjects.H_SCHEDULE, subjects.AT)
    if not schedule.startswith(subjects.AT):
        return True
    comes_from_one = subjects.H_SCHEDULER in headers
    return comes_from_one and headers.get(subjects.H_SCHEDULE_NEXT) != subjects.ONCE


async def behind(bus: Bus, delivery: Delivery) -> Task | None:
    """Return the task behind a delivery of which only the reference is left; None if it is gone.

    Raises:
        Undecodable: it is none.
        BusUnreachable, NotAllowed: as `Bus.many`.
    """
    message = await numbered(bus, delivery.stream, delivery.seq, delivery.subject)
    return decoded(message) if message else None


async def find(bus: Bus, record: Record, seq: int = 0) -> tuple[Task, Found] | None:
    """Return a stored task by its record, and its message; None if none is stored.

    Args:
        bus: where it lies.
        record: of the task.
        seq: its sequence among the stored ones; where that is not known, 0, or it is not there, as
            one that was offered again, all of its sender's in its lane are gone through.

    Raises:
        BusUnreachable, NotAllowed: as `Bus.many`.
    """
    if seq and (there := await find_at(bus, record, seq)):
        return there
    messages = bus.stored(subjects.TASKS, _lane_of(record), page=_PAGE)
    async with aclosing(messages) as pages:
        async for page in pages:
            for message in page:
                if task := _in(message, record):
                    return task, message
    return None


async def find_at(bus: Bus, record: Record, seq: int) -> tuple[Task, Found] | None:
    """Return a stored task, as `find`, if it is the one that has this number."""
    message = await numbered(bus, subjects.TASKS, seq, _lane_of(record))
    task = _in(message, record) if message else None
    return (task, message) if message and task else None


def _lane_of(record: Record) -> str:
    return subjects.task_subject(record.inbox, record.priority, record.owner)


def _in(message: Found, record: Record) -> Task | None:
    """Return the task in a message if it is a record's."""
    with suppress(Undecodable):
        task = decoded(message)
        return task if task.id == record.task_id else None
    return None


@dataclass(frozen=True)
class Seen:
    """A stored task that is not over, and who holds it."""

    task: Task
    #: None if nobody has touched it yet.
    record: Record | None = None

    @property
    def state(self) -> State:
        """The task's state."""
        return self.record.state if self.record else "stored"

    @property
    def holder(self) -> str:
        """The session that holds it, as `agent/session`; empty if nobody does."""
        if self.record is None or self.state == "stored":
            return ""
        return f"{self.record.agent}/{self.record.session}"


@dataclass(frozen=True)
class Unreadable:
    """A stored message that is no task."""

    #: In this program's words.
    reason: str


async def look_at(bus: Bus, message: Found) -> Seen | Unreadable | None:
    """Look at a stored message, and take nothing; None if its task is over, or its deadline past.

    Raises:
        BusUnreachable, NotAllowed: as `Bus.last`.
    """
    try:
        task = decoded(message)
    except Undecodable as error:
        return Unreadable(str(error))
    record, _ = await read_record(bus, task.sender, task.to, task.id)
    over = (record is not None and record.ended) or await has_come(bus, task.expires_at)
    return None if over else Seen(task, record)
