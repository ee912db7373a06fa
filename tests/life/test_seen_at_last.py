# SPDX-License-Identifier: Apache-2.0
"""An agent that was set up before it had any session is one that was seen once it has had one."""

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.store import roster


async def test_an_agent_that_was_set_up_first_was_seen_once_it_has_had_a_session(world):
    await world.session("planner")  # it makes the streams
    me = Agent(world.name("coder"))
    await roster.register(world.bus, me, None)
    before = (await roster.look(world.bus, me.id)).state
    async with await world.session("coder"):
        pass
    after = await roster.look(world.bus, me.id)

    assert (before, after.state) == ("never seen", "offline")
    assert after.last_seen
