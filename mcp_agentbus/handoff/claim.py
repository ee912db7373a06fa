# SPDX-License-Identifier: Apache-2.0
"""A claim: a task that a session holds. Where a process that made it is gone, it is found again.

    >>> await claimed_by(bus, "3f7a", ["coder"])
    [Claim(task=Task(subject='Count the tests', ...), ..., found=True)]

Whose a task is says its record, so nothing of that is lost with a process. Finding a claim is not
holding it: a session's `Claims` does that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Delivery, untaken
from mcp_agentbus.core.aio import together
from mcp_agentbus.core.ids import LANES
from mcp_agentbus.store import subjects
from mcp_agentbus.store.queries import consumers, read_back
from mcp_agentbus.store.records import read_record
from mcp_agentbus.store.subjects import TASKS
from mcp_agentbus.store.task import HELD, Record, Task, Undecodable


@dataclass(frozen=True)
class Claim:
    """A task that a session holds."""

    task: Task
    delivery: Delivery
    record: Record
    #: The record's revision; whoever took the task over has raised it.
    revision: int
    #: Its place among all claims that the session ever made; set by `Claims.hold`.
    number: int = 0
    #: An earlier process of the session has claimed it.
    found: bool = False
    #: This process has changed what its record says.
    went_on: bool = False
    #: It was to be given back, and nobody confirmed that: the write may be under way.
    unsure: bool = False

    @property
    def was_offered(self) -> bool:
        """Whether it was offered before, and is again: a server counts no such task as waiting."""
        return self.delivery.offered > 1 and not self.found

    @property
    def claimed_at(self) -> datetime:
        """When its task was claimed last; its history may have lost that, if it is long."""
        moments = [moment.at for moment in self.record.history if moment.state == "claimed"]
        return moments[-1] if moments else self.record.updated_at

    def written(self, record: Record, revision: int) -> Claim:
        """Return it with the record that stands: no write under way comes after that."""
        return replace(self, record=record, revision=revision, unsure=False)


async def claimed_by(bus: Bus, session_id: str, inboxes: Sequence[str]) -> list[Claim]:
    """Return the claims of a session in these inboxes, in the order in which it has made them.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    read = [consumers.lane(inbox, lane) for inbox in inboxes for lane in LANES]
    lanes = await together(*(bus.handed_out(each.stream, each.name, each.subject) for each in read))
    claims = await together(*(_of(bus, session_id, taken) for lane in lanes for taken in lane))
    return sorted(filter(None, claims), key=lambda claim: claim.claimed_at)


async def by_record(bus: Bus, record: Record, revision: int) -> Claim | None:
    """Return the claim of a task that is held by its record; None if the task is gone.

    A server that was killed right after it had handed the task out has forgotten that, so
    `claimed_by` does not find it.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    lane = record.inbox, record.priority
    subject = subjects.task_subject(*lane, record.owner)
    out = await bus.handed_out(TASKS, subjects.lane_consumer(*lane), subject)
    token_of = {delivery.seq: delivery.token for delivery in out}
    stored = await read_back.find(bus, record)
    if stored is None:
        return None
    task, message = stored
    delivery = untaken(TASKS, message, token_of.get(message.seq, ""))
    return Claim(task, delivery, record, revision, found=True)


async def by_delivery(bus: Bus, session_id: str, delivery: Delivery) -> Claim | None:
    """Return the claim of which a delivery without its task is left, if the session holds it still.

    Raises:
        Undecodable: as `read_back.behind`.
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    task = await read_back.behind(bus, delivery)
    return await _held(bus, session_id, task, delivery) if task else None


async def _of(bus: Bus, session_id: str, delivery: Delivery) -> Claim | None:
    """Return the claim of a task that somebody was offered, if that is held by the session."""
    try:
        task = read_back.decoded(delivery)
    except Undecodable:
        return None
    return await _held(bus, session_id, task, delivery)


async def _held(bus: Bus, session_id: str, task: Task, delivery: Delivery) -> Claim | None:
    record, revision = await read_record(bus, task.sender, task.to, task.id)
    if record and record.session == session_id and record.state in HELD:
        return Claim(task, delivery, record, revision, found=True)
    return None
