# SPDX-License-Identifier: Apache-2.0
"""What is kept of a task is written behind its receipt: who lists tasks waits for that."""

import asyncio

from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import tasks
from mcp_agentbus.store.records import read_sent
from mcp_agentbus.store.upkeep import unkept

HANG_S = 60  # only a hang takes as long


async def test_who_lists_tasks_waits_for_what_is_kept_of_those_that_have_just_come(
    world, monkeypatch
):
    keep, asked_for, may_go_on = tasks.keep, asyncio.Event(), asyncio.Event()

    async def late(*of_one):
        asked_for.set()
        await may_go_on.wait()
        return await keep(*of_one)

    planner, coder = await world.session("planner"), await world.session("coder")
    monkeypatch.setattr(tasks, "keep", late)
    monkeypatch.setattr(unkept, "_SETTLED_WITHIN_S", HANG_S)
    [receipt] = await send_task(planner, coder.me.id, "Do it", "x")
    await asked_for.wait()
    asyncio.get_running_loop().call_later(0.05, may_go_on.set)
    await unkept.settled(world.bus, [coder.me.id])

    sent, _ = await read_sent(world.bus, planner.me.id, coder.me.id, receipt.task_id)
    assert sent.request
