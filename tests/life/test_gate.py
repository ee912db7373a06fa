# SPDX-License-Identifier: Apache-2.0
"""Agents of three accounts hand work to each other by the gate, in the product's own calls."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from gated import gated

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core import aio
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import NameTaken
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session


class Accounts:
    """Sessions of agents, each over the connection of its account."""

    def __init__(self, shared, stack):
        self.shared, self._stack = shared, stack
        self._buses = {}

    async def bus(self, account):
        if account not in self._buses:
            opened = Bus.connect(self.shared.settings(account))
            self._buses[account] = await self._stack.enter_async_context(opened)
        return self._buses[account]

    async def session(self, account, agent, **more):
        session = Session(await self.bus(account), Agent(agent, **more))
        await self._stack.enter_async_context(session)
        await session.called()
        await session.can_read()
        return session


@pytest_asyncio.fixture(loop_scope="function")
async def accounts(tmp_path):
    failed = len(aio.failures)
    async with (
        gated(tmp_path, laptop=["review"], vps=["review"], pi=[]) as shared,
        AsyncExitStack() as stack,
    ):
        yield Accounts(shared, stack)
    assert len(aio.failures) == failed


@pytest.mark.asyncio(loop_scope="function")
async def test_a_task_goes_over_and_its_result_comes_back(accounts):
    planner = await accounts.session("laptop", "planner")
    coder = await accounts.session("vps", "coder")

    [receipt] = await send_task(planner, "coder", "Count the tests", "In the folder.")
    [item] = (await read_inbox(coder)).tasks
    await publish_result(coder, receipt.task_id, "completed", summary="612")
    [record] = (await read_inbox(planner)).results

    assert (receipt.state, item.task.sender, record.summary) == ("stored", "planner", "612")


@pytest.mark.asyncio(loop_scope="function")
async def test_a_name_is_the_account_s_that_had_it_first(accounts):
    await accounts.session("laptop", "planner")

    with pytest.raises(NameTaken) as refusal:
        await accounts.session("vps", "planner")

    assert "planner-vps" in refusal.value.hint
