# SPDX-License-Identifier: Apache-2.0
"""What the shells of this user hold, as whoever is about to leave a bus is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.doctor.stored import claims
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.shell_session import shell_session


@pytest.mark.parametrize("is_there", [True, False])
async def test_of_each_agent_it_is_known_what_its_shells_hold_while_the_bus_is_there(
    world, tmp_path, monkeypatch, is_there
):
    settings = replace(world.bus.settings, state_dir=tmp_path)
    role = world.name("review")
    coder, idle = Agent(world.name("coder"), roles=(role,)), Agent(world.name("idle"))
    monkeypatch.setattr(claims.shells, "agents", lambda _: frozenset({coder.id, idle.id}))
    planner = await world.session("planner")
    async with shell_session(world.bus, coder, tmp_path) as shell:
        await read_inbox(shell)
        await send_task(planner, coder.id, "Build", "x")
        await send_task(planner, f"role:{role}", "Look", "x")  # which goes to others
        assert len((await read_inbox(shell)).tasks) == 2

    if not is_there:
        settings = replace(settings, url="nats://127.0.0.1:1")
    assert await claims.of_shells(settings) == ({coder.id: 1} if is_there else {})
