# SPDX-License-Identifier: Apache-2.0
"""Whether a task lies on this machine, and not at the bus.

    >>> await kept_here(session.outbox, session.outcomes.keeping, session.bus, "9d0c2f")
    Waits(...)

One that is for another bus may have the id of one that goes on at this one, which is meant then.
"""

from __future__ import annotations

from contextlib import suppress

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.handoff.sending.keeping import Keeping
from mcp_agentbus.store.outbox.outbox import Outbox, Waits
from mcp_agentbus.store.reading.sides import read_sides
from mcp_agentbus.store.task import Task


async def kept_here(outbox: Outbox, keeping: Keeping, bus: Bus, written: str) -> Waits | None:
    """Return a task of the outbox that the bus has not, by its id or the beginning of one.

    Args:
        outbox: what lies on this machine.
        keeping: what a session has sent and has yet to keep.
        bus: that of now; of one that is away nothing is known.
        written: what is looked for.
    """
    waits = await outbox.find(written) if outbox.may_hold else None
    if waits and not waits.is_ours and await _is_at(bus, keeping, waits.task):
        return None
    return waits


async def _is_at(bus: Bus, keeping: Keeping, task: Task) -> bool:
    """Tell whether a bus knows of a task of that sender and id."""
    with suppress(AgentbusError):
        await keeping.settled()
        [stands] = await read_sides(bus, [(task.sender, "*")], task.id)
        return bool(stands.record or stands.sent)
    return False
