# SPDX-License-Identifier: Apache-2.0
"""Sessions that call a tool for the first time at once, on a server on which nothing is stored."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session


@pytest.mark.parametrize("count", [4, 40])
async def test_a_crowd_finds_a_new_server_ready(count):
    async with AsyncExitStack() as stack:
        settings = stack.enter_context(embedded.ephemeral())
        buses = [await stack.enter_async_context(Bus.connect(settings)) for _ in range(count)]
        crowd = [
            await stack.enter_async_context(Session(bus, Agent(f"agent-{number}")))
            for number, bus in enumerate(buses)
        ]

        inboxes = await asyncio.gather(*map(read_inbox, crowd))

        assert [inbox.empty for inbox in inboxes] == [True] * count
        [receipt] = await send_task(crowd[0], f"agent-{count - 1}", "Count the tests", "All.")
        [item] = (await read_inbox(crowd[-1])).tasks
        assert item.task.id == receipt.task_id
