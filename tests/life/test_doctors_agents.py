# SPDX-License-Identifier: Apache-2.0
"""What doctor has registered is on the roster while it is at work, and in nobody's way later."""

from __future__ import annotations

from datetime import UTC, datetime

from mcp_agentbus.core.ids import PROBE, Agent
from mcp_agentbus.store import roster, streams


async def test_doctors_agents_are_there_while_they_are_at_work_alone(world):
    await streams.ensure_streams(world.bus)
    me = Agent(f"{PROBE}laptop")
    await roster.register(world.bus, me, datetime.now(UTC))
    assert me.id not in {each.id for each in await roster.everybody(world.bus)}

    await roster.beat(world.bus, me, "1f")
    assert me.id in {each.id for each in await roster.everybody(world.bus)}
    assert (await roster.look(world.bus, me.id)).id == me.id
