# SPDX-License-Identifier: Apache-2.0
"""A task that was set aside for its agent, as one that has failed too often is.

>>> planner, coder, task_id = await set_aside(own_world)
"""

from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.parked import parking
from mcp_agentbus.handoff.send import send_task


async def set_aside(world):
    """Return the sessions of its sender and its addressee, and its id."""
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Too hard", "x")
    await read_inbox(coder)
    claim = coder.claims[sent.task_id]
    of_it = claim.record, claim.revision
    await parking.park(world.bus, claim.delivery, coder.me.id, "too often", of_it)
    return planner, coder, sent.task_id
