# SPDX-License-Identifier: Apache-2.0
"""Who is there and what waits, as a program asks for it."""

import pytest

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BadInput
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.patterns.inbox import count, list_agents, peek, register


async def test_on_a_new_bus_an_agent_is_registered_sent_to_and_looked_at():
    async with Bus.ephemeral() as bus, Session(bus, Agent("planner")) as planner:
        assert [agent.entry.id for agent in (await list_agents(planner)).agents] == ["planner"]
        await register(bus, Agent("coder", description="codes", roles=("review",)))
        await send_task(planner, "coder", "Count", "all of them", priority="high")
        await send_task(planner, "role:review", "Review", "all of it")

        [listed] = (await list_agents(planner, query="codes")).agents
        assert (listed.entry.state, listed.waiting) == ("never seen", {"high": 1})
        async with Session(bus, Agent("coder", roles=("review",))) as coder:
            assert await count(coder) == {"high": 1, "normal": 1, "low": 0}
            first = await peek(coder)
            assert [item.task.subject for item in first.tasks] == ["Count", "Review"]
            assert await peek(coder) == first


@pytest.mark.parametrize(
    "agent",
    [Agent("a.b"), Agent("all"), Agent("ok", roles=("*",)), Agent("ok", description="x" * 301)],
)
async def test_what_no_agent_may_be_or_say_of_itself_is_not_registered(world, agent):
    with pytest.raises(BadInput):
        await register(world.bus, agent)
