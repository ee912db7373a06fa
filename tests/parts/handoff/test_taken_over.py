# SPDX-License-Identifier: Apache-2.0
"""A session goes on in another process, with what an earlier process of it has held."""

from mcp_agentbus.handoff.beside.references import reference_of
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session


async def test_what_it_held_it_holds_reads_as_nothing_new_and_ends(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    sent = [(await send_task(planner, coder.me.id, name, "x"))[0].task_id for name in "ab"]
    await read_inbox(coder)
    references = [reference_of(coder.claims[task_id].delivery) for task_id in sent]
    await publish_result(coder, sent[0], "completed")

    async with Session(world.bus, coder.me, id=coder.id) as again:
        await again.take_over([{}, *references])
        held = list(again.claims)
        items = (await read_inbox(again)).tasks
        ended = await publish_result(again, sent[1], "completed")

    assert held == [sent[1]]
    assert [(item.task.id, item.new) for item in items] == [(sent[1], False)]
    assert (ended.state, ended.unchanged) == ("completed", False)
