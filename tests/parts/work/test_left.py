# SPDX-License-Identifier: Apache-2.0
"""A worker whose block is left while it runs: what takes ends first, and nothing stays at work."""

import asyncio
from contextlib import suppress

import pytest

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import watch_inbox
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.work.worker import Worker

HANG_S = 20  # only a hang takes as long


class Left(Exception):
    """Why the block was left."""


@pytest.fixture
def worker(world):
    return Worker(world.bus, Agent(world.name("coder")))


async def ended(running):
    async with asyncio.timeout(HANG_S):
        await running


@pytest.mark.parametrize("has_begun", [False, True])
@pytest.mark.parametrize("how", ["plainly", "by an error", "draining"])
async def test_it_returns_where_nothing_is_at_work_however_its_block_was_left(
    world, worker, has_begun, how
):
    planner = await world.session("planner")

    async def handler(_):
        return ""

    with suppress(Left):
        async with worker:
            running = asyncio.create_task(worker.run(handler))
            if has_begun:
                [receipt] = await send_task(planner, worker.me, "Count", "all")
                await watch_inbox(planner, task_id=receipt.task_id, timeout_s=HANG_S)
            if how == "draining":
                worker.drain()
            if how == "by an error":
                raise Left

    await ended(running)


async def test_what_it_is_at_is_given_back_and_its_handler_is_cancelled_at_once(world, worker):
    planner, begun = await world.session("planner"), asyncio.Event()

    async def handler(_):
        begun.set()
        await asyncio.Event().wait()

    async with worker:
        [receipt] = await send_task(planner, worker.me, "Count", "all")
        running = asyncio.create_task(worker.run(handler))
        await ended(begun.wait())

    async with asyncio.timeout(2):  # it is seen every 5 s whose it is
        await running
    assert (await task_life(planner, receipt.task_id)).state == "stored"
