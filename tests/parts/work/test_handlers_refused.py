# SPDX-License-Identifier: Apache-2.0
"""A handler that no worker can do a task by, and a worker that does none any more."""

import pytest

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BadInput
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.work.worker import Worker


@pytest.fixture
async def worker(world):
    async with Worker(world.bus, Agent(world.name("coder"))) as worker:
        yield worker


async def test_what_cannot_be_called_is_refused_before_it_gets_a_task(worker):
    worker.drain()  # else `run` would wait for one
    for work in (worker.run, worker.run_once):
        with pytest.raises(BadInput, match=r"of type str, .* async def handler"):
            await work("three")


async def test_a_function_that_is_not_async_fails_its_task_and_says_so(world, worker):
    planner = await world.session("planner")
    [receipt] = await send_task(planner, worker.me, "Count", "all")

    done = await worker.run_once(lambda task: task.body)

    life = await task_life(planner, receipt.task_id)
    assert done.state == "failed"
    assert life.record.summary == (
        "The task was not done: its handler is no async function, as it must be."
    )


@pytest.mark.parametrize("end", [Worker.drain, Worker.stop])
async def test_one_that_was_told_to_take_no_more_does_none_once(world, worker, end):
    await send_task(await world.session("planner"), worker.me, "Count", "all")
    end(worker)

    assert await worker.run_once(pytest.fail) is None
