# SPDX-License-Identifier: Apache-2.0
"""Thousands of names that one client makes up hide nobody, and end nobody's call."""

import asyncio
import json

import pytest
from rawclient import Raw

from mcp_agentbus.bus.reconnect import HEARD_MAX
from mcp_agentbus.errors import BadInput
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import subjects
from mcp_agentbus.wakes import demand

# More than a server names in one answer, which is 1,024.
MANY = 1_100
HANG_S = 60  # only a hang takes as long
TASK = {"id": "abcdef1", "type": "task.request", "payload": {"content": "x"}}


async def flood(bus, subject, fields):
    """Store something under as many subjects, in each of which stands another name."""
    data = json.dumps(fields).encode()
    async with Raw(bus.settings.data_dir) as raw:
        for number in range(MANY):
            await raw.ask(subject.replace("NAME", f"m{number}").encode(), data)


async def test_an_urgent_task_wakes_though_more_senders_wait_than_the_server_names_at_once(
    own_world,
):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    await flood(planner.bus, subjects.task_subject(coder.me.id, "high", "NAME"), TASK)
    await send_task(planner, coder.me.id, "Count", "x", priority="high")

    looked = await demand.look(coder.bus, coder.me.id, coder.inboxes, {planner.me.id})
    seen = [
        {
            thing.sender
            for thing in (await demand.look(coder.bus, coder.me.id, coder.inboxes)).things
        }
        for _ in range(2)
    ]

    assert planner.me.id in {thing.sender for thing in looked.things}
    assert looked.counts.high == MANY + 1
    assert seen[0] != seen[1]  # of those that nobody knows each look takes others


async def test_a_task_is_answered_though_a_thousand_records_have_its_id(own_world):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Count", "x")
    held = {"status": "working", "agent": "m", "session": "m"}
    mine, theirs = planner.me.id, coder.me.id
    for subject in (
        subjects.record_subject("NAME", theirs, sent.task_id),
        subjects.record_subject(mine, "NAME", sent.task_id),
        subjects.sent_subject(mine, "NAME", sent.task_id),
    ):
        await flood(planner.bus, subject, {"type": "task.result", **held})

    [item] = (await read_inbox(coder)).tasks
    await publish_result(coder, item.task.id, "completed", summary="7")
    [result] = (await watch_inbox(planner, timeout_s=10, task_id=sent.task_id)).results

    assert (result.state, result.summary) == ("completed", "7")


async def test_all_is_refused_at_once_where_thousands_have_been_registered(own_world):
    planner = await own_world.session("planner")
    await flood(planner.bus, subjects.profile_subject("NAME"), {"id": "x"})

    with pytest.raises(BadInput, match=r"'all' are 1,\d\d\d agents.*Nothing was sent"):
        await send_task(planner, "all", "Count", "x")


async def test_of_a_flood_of_signs_only_the_beginning_is_heard_and_then_what_comes_after(own_world):
    bus, heard = own_world.bus, asyncio.Queue()
    subject = "agentbus.nobody.wake.high.planner"

    async with asyncio.timeout(HANG_S), bus.subscribed(subject, heard.put_nowait):
        for _ in range(5 * HEARD_MAX):
            await bus.send(subject, b"", {})
        before = 0
        while await heard.get() is not None:
            before += 1
        await bus.send(subject, b"last", {})
        while not (message := await heard.get()) or message.data != b"last":
            pass

    assert before < 3 * HEARD_MAX
