# SPDX-License-Identifier: Apache-2.0
"""A program follows the tasks of all of its user's agents."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from local_server import kill_servers

from mcp_agentbus.archive.follow import follow
from mcp_agentbus.bus import embedded
from mcp_agentbus.errors import BadInput
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task


async def handed_over(planner, coder, subject, ended):
    """Have a task be sent, claimed, and ended so; return its id."""
    [receipt] = await send_task(planner, coder.me.id, subject, "all of it")
    await read_inbox(coder)
    await publish_result(coder, receipt.task_id, ended)
    return receipt.task_id


async def steps(following, count):
    """Return so many steps, each as its task and its state."""
    return [
        (step.task.task_id, step.state) for step in [await anext(following) for _ in range(count)]
    ]


async def test_each_step_comes_once_from_a_time_on_and_over_a_kill_of_the_server(own_world):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    first = await handed_over(planner, coder, "first", "completed")
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    bus = await own_world.another_bus()
    following = follow(bus, since=an_hour_ago)
    assert await steps(following, 3) == [
        (first, each) for each in ("stored", "claimed", "completed")
    ]

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(steps(following, 3))
        kill_servers(bus.settings)
        await asyncio.to_thread(embedded.ensure, bus.settings)
        second = await handed_over(planner, coder, "second", "failed")
    assert waiting.result() == [(second, each) for each in ("stored", "claimed", "failed")]
    await following.aclose()


async def test_without_a_time_only_what_comes_is_told_and_a_time_has_a_zone(own_world):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    before = await handed_over(planner, coder, "before", "completed")
    following = follow(own_world.bus)
    waiting = asyncio.ensure_future(steps(following, 1))
    while not waiting.done():
        await handed_over(planner, coder, "later", "completed")

    assert (await waiting)[0][0] != before
    await following.aclose()
    with pytest.raises(BadInput, match="no time with a zone"):
        await anext(follow(own_world.bus, since=datetime(2026, 1, 1)))  # noqa: DTZ001  # is tested
