# SPDX-License-Identifier: Apache-2.0
"""Tasks as they lie on the bus: the one place that stores and reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Delivery, Found
from mcp_agentbus.core import text
from mcp_agentbus.errors import StoreFull
from mcp_agentbus.store import codec, subjects
from mcp_agentbus.store.records import read_record
from mcp_agentbus.store.task import Record, State, Task

# JetStream drops the oldest scheduled task when its stream is full, so stop well before.
_SCHEDULE_FULL_AT: Final = 0.9


async def put(bus: Bus, task: Task) -> bool:
    """Store the task; return whether it had been stored before."""
    headers = codec.task_headers(task)
    subject = subjects.task_subject(task.to, task.priority, task.sender)
    if task.deliver_at:
        await _check_schedule_has_room(bus)
        headers |= {
            "Nats-Schedule": f"@at {text.stamp(task.deliver_at)}",
            "Nats-Schedule-Target": subjects.due_subject(task.to, task.priority, task.sender),
        }
        subject = subjects.scheduled_subject(task.to, task.priority, task.sender, task.id)
    stored = await bus.publish(subject, codec.encode_task(task), headers, message_id=task.id)
    return stored.duplicate


async def _check_schedule_has_room(bus: Bus) -> None:
    info = await bus.admin.api(f"STREAM.INFO.{subjects.SCHEDULE}")
    if info["state"]["bytes"] > info["config"]["max_bytes"] * _SCHEDULE_FULL_AT:
        raise StoreFull(
            "Too many tasks wait for their time. Nothing was stored.",
            hint="Send it without deliver_in_s, or later.",
        )


def check_schedule(task: Task, delivery: Delivery) -> None:
    """See that a task which the server published itself is from the one who scheduled it.

    The right to schedule is the right to name any target subject, hence any sender.
    """
    scheduler = delivery.headers.get(subjects.H_SCHEDULER)
    expected = subjects.scheduled_subject(task.to, task.priority, task.sender, task.id)
    if scheduler is not None and scheduler != expected:
        raise codec.Undecodable("it was scheduled by another than its sender")


@dataclass(frozen=True)
class Seen:
    """A stored task, and who holds it."""

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


async def at(bus: Bus, found: Found) -> Seen | str | None:
    """Return a stored task with its state; a text if it is none; None if it is over."""
    try:
        task = codec.decode_task(found.subject, found.headers, found.data, found.stored_at)
        record, _ = await read_record(bus, task.sender, task.to, task.id)
    except codec.Undecodable as error:
        return str(error)
    return None if record and record.ended else Seen(task, record)
