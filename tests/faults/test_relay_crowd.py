# SPDX-License-Identifier: Apache-2.0
"""A listener killed under twenty busy sessions: they go on, nothing claimed is lost or done twice."""

import asyncio
import signal
from contextlib import ExitStack

import pytest
import served
from listeners import configure, known, listening

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.relay import local_socket

SESSIONS = 20
TASKS = 2
FLOOD = 300


def joined(settings):
    """Wait until the listener knows all sessions by their processes."""
    while True:
        agents = local_socket.ask(settings, {"op": "status"})["agents"]
        if sum(one["sessions"] for one in agents) == SESSIONS:
            return


def ends(server, task_ids):
    """Publish a result for each task in its session."""
    for task_id in task_ids:
        server.call("publish_result", task_id=task_id, status="completed", summary="done")


@pytest.mark.promise(46)
async def test_twenty_busy_sessions_outlive_their_listener_with_all_they_hold(tmp_path):
    agents = [f"worker-{number}" for number in range(SESSIONS)]
    with embedded.ephemeral() as settings, ExitStack() as stack:
        configure(settings, tmp_path)
        async with Bus.connect(settings) as bus, Session(bus, Agent("planner")) as planner:
            await planner.called()
            await known(planner, *agents)
            sent = {
                agent: [
                    (await send_task(planner, agent, "Count", "the tests"))[0].task_id
                    for _ in range(TASKS)
                ]
                for agent in agents
            }
            environ = served.environ(settings.data_dir.parent)
            async with listening(settings) as listener:
                servers = {
                    agent: stack.enter_context(served.Pipes(environ, agent=agent))
                    for agent in agents
                }
                for server in servers.values():
                    server.greet(served.MODERN)
                    await asyncio.to_thread(server.call, "read_inbox")
                await asyncio.to_thread(joined, settings)
                working = [
                    asyncio.create_task(asyncio.to_thread(ends, server, sent[agent]))
                    for agent, server in servers.items()
                ]
                await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
                await listener.end(signal.SIGKILL)
                await asyncio.gather(*working)
            lives = [await task_life(planner, one) for each in sent.values() for one in each]

    assert [[one.state for one in life.history] for life in lives] == [
        ["stored", "claimed", "completed"]
    ] * (SESSIONS * TASKS)


@pytest.mark.promise(46)
async def test_a_flood_of_requests_costs_another_session_no_more_than_a_few_of_them(tmp_path):
    with embedded.ephemeral() as settings:
        environ = served.environ(settings.data_dir.parent)
        async with listening(settings):
            with served.Pipes(environ, agent="flood") as flood, served.Pipes(environ) as other:
                for server in (flood, other):
                    server.greet(served.MODERN)
                other.call("list_agents")
                for _ in range(FLOOD):
                    flood.request("tools/list", era=served.MODERN)
                between = []
                while (before := flood.answered) < FLOOD and len(between) < FLOOD:
                    await asyncio.to_thread(other.call, "list_agents")
                    between.append(flood.answered - before)

    assert len(between) > 20
    assert sorted(between)[len(between) // 2] <= 3
