# SPDX-License-Identifier: Apache-2.0
"""A session that takes its name at its first call is from then on that agent, in all that it does."""

from types import SimpleNamespace

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session

HANG_S = 60  # only a hang takes as long


async def test_what_it_sends_and_reads_is_of_the_name_that_it_took(world):
    coder = await world.session("coder")
    asked, took = Agent(world.name("shop")), Agent(world.name("shop-2"))

    async def take(_):
        return SimpleNamespace(me=took, remarks=(), news="It is shop-2.")

    async with Session(world.bus, asked, naming=SimpleNamespace(take=take)) as session:
        told = await session.take_name()
        [sent] = await send_task(session, coder.me.id, "Do it", "x")
        [item] = (await read_inbox(coder)).tasks
        await publish_result(coder, sent.task_id, "completed")
        [result] = (await watch_inbox(session, task_id=sent.task_id, timeout_s=HANG_S)).results
        await send_task(coder, took.id, "And this", "x")
        read = (await read_inbox(session)).tasks
        after = await session.take_name()

    assert (told, after) == (("It is shop-2.",), ())
    assert (item.task.sender, result.owner) == (took.id, took.id)
    assert [each.task.subject for each in read] == ["And this"]
