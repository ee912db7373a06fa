# SPDX-License-Identifier: Apache-2.0
"""What doctor has registered is on the roster while it is at work, and in nobody's way later."""

from __future__ import annotations

from datetime import UTC, datetime

from listeners import in_state

from mcp_agentbus.core.ids import PROBE, Agent
from mcp_agentbus.store import roster


async def test_doctors_agents_are_there_while_they_are_at_work_alone(world):
    planner = await world.session("planner")
    me = Agent(f"{PROBE}laptop")
    await roster.register(world.bus, me, datetime.now(UTC))
    assert me.id not in {each.id for each in await roster.everybody(world.bus)}

    await roster.beat(world.bus, me, "1f")
    await in_state("live session", planner, me.id)
    assert me.id in {each.id for each in await roster.everybody(world.bus)}
