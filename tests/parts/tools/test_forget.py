# SPDX-License-Identifier: Apache-2.0
"""An agent that is forgotten: nothing that waits is lost by it, and it is said what does."""

import pytest

from mcp_agentbus.config.changes import editor
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BadSetup, Refused, UnknownAgent
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import roster, streams
from mcp_agentbus.tools.forget import forget, roles_left


async def test_an_agent_stays_known_where_it_cannot_be_taken_from_the_senders(world, monkeypatch):
    agent = world.name("coder")
    await streams.ensure_streams(world.bus)
    await roster.register(world.bus, Agent(agent), None)

    def refuses(*_):
        raise BadSetup("It is open to others.", hint="Close it.")

    with monkeypatch.context() as closed:
        closed.setattr(editor, "distrust", refuses)
        with pytest.raises(BadSetup):
            await forget(world.bus, agent, distrusts=True)
    assert await forget(world.bus, agent, distrusts=True) is False
    with pytest.raises(UnknownAgent):
        await forget(world.bus, agent, distrusts=True)


async def test_of_who_is_forgotten_it_is_said_what_waits_for_the_roles_that_nobody_else_has(world):
    agent, other = world.name("coder"), world.name("smith")
    alone, shared, idle = (world.name(role) for role in ("review", "build", "idle"))
    await streams.ensure_streams(world.bus)
    await roster.register(world.bus, Agent(agent, roles=(alone, shared, idle)), None)
    await roster.register(world.bus, Agent(other, roles=(shared,)), None)
    async with await world.session("planner") as planner:
        await send_task(planner, f"role:{alone}", "Look", "x")
        await send_task(planner, f"role:{shared}", "Build", "x")

    left, said = await roles_left(world.bus, agent)

    assert left == {alone: 1}
    assert said.startswith(f" 1 task of role:{alone}: nobody reads")
    assert await roles_left(world.bus, other) == ({}, "")


async def test_who_is_not_forgotten_as_tasks_wait_may_have_them_rejected(world):
    agent = world.name("coder")
    await streams.ensure_streams(world.bus)
    await roster.register(world.bus, Agent(agent), None)
    async with await world.session("planner") as planner:
        await send_task(planner, agent, "Look", "x")

    with pytest.raises(Refused) as refused:
        await forget(world.bus, agent)
    assert f"agentbus clear --agent {agent}" in refused.value.hint
