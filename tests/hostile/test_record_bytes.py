# SPDX-License-Identifier: Apache-2.0
"""A crafted record stops nobody: it is read within bounds, or counts as none."""

import json

import corpus
import pytest
from rawclient import Raw

from mcp_agentbus.handoff import agents, lookup
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.tools.answers import render
from mcp_agentbus.wakes import demand

RECORDS = corpus.read("records", "held-")
SENT = {"type": "task.sent", "created_at": "2026-05-18", "expires_at": "9999-12-31T23:59:59-14:00"}


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
async def test_whoever_looks_at_a_task_with_a_crafted_record_goes_on(own_world, record):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    await read_inbox(coder)
    [receipt] = await send_task(planner, coder.me.id, "Crafted", "x", priority="high")
    subject = f"agentbus.{planner.me.id}.results.{coder.me.id}.{receipt.task_id}"
    other = f"agentbus.{planner.me.id}.sent.{coder.me.id}.{'f' * 32}"
    async with Raw(own_world.bus.settings.data_dir) as raw:
        await raw.ask(subject.encode(), record.replace(b"AGENT", coder.me.id.encode()))
        await raw.ask(other.encode(), json.dumps({**SENT, "seq": 2**70}).encode())

    await demand.look(own_world.bus, coder.me.id, coder.inboxes)  # as its listener does
    await agents.page(own_world.bus)
    render.life_text(await lookup.task_life(planner, receipt.task_id))
    await read_inbox(planner)
    await read_inbox(coder, peek=True)
    [fresh] = await send_task(planner, coder.me.id, "Fresh", "x")
    read = await read_inbox(coder)
    await publish_result(coder, fresh.task_id, "completed")
    results = (await watch_inbox(planner, timeout_s=5, task_id=fresh.task_id)).results

    assert fresh.task_id in {item.task.id for item in read.tasks}
    assert [result.state for result in results] == ["completed"]
