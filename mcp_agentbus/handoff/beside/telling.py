# SPDX-License-Identifier: Apache-2.0
"""What there is to tell of tasks to the agent that sent them, by their records: nothing is taken.

    >>> await offered(bus, "planner", delivery, awaits)
    Told(record=Record(state='completed', ...), revision=18, sent=Sent(...), delivery=Delivery(...))

A worker's record holds as its task's sender has kept it, where that is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Delivery
from mcp_agentbus.store import records, unseen
from mcp_agentbus.store.task import TOLD, Record, Sent

# How soon, in seconds, it is looked again for what a sender keeps of a task with a result already.
_NOT_ASKED_S: Final = 0.5


class Told(NamedTuple):
    """What a record tells."""

    record: Record
    revision: int
    #: What is kept of its task, sent or only seen; None if nothing is.
    sent: Sent | None
    #: What offered it; None if it was read as it is stored.
    delivery: Delivery | None = None


async def offered(
    bus: Bus, agent: str, delivery: Delivery, awaits: Callable[[Record], bool]
) -> Told | None:
    """Return what a delivery tells; None if that is nothing, or not yet: then it is seen to.

    Args:
        bus: where it lies.
        agent: whose it is.
        delivery: of a record of one of its tasks.
        awaits: tells whether its reader has sent the task itself, and is to keep that yet.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    record = records.record_in(delivery)
    if record is None or record.state not in TOLD:
        await bus.finish(delivery)  # the record stays as it is
        return None
    sent, _ = await records.read_kept(bus, agent, record.inbox, record.task_id)
    if sent is not None or not awaits(record):
        record = await records.as_asked(bus, record, sent)
        if not sent and await unseen.may_be_asked_yet(bus, record, delivery.stored_at):
            await bus.give_back(delivery, _NOT_ASKED_S)
            return None
    if not record.is_told:
        await bus.finish(delivery)
        return None
    return Told(record, delivery.seq, sent, delivery)
