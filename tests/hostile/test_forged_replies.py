# SPDX-License-Identifier: Apache-2.0
"""Whoever answers in the server's place what no server answers is not heard, and misleads nobody."""

import asyncio
import contextlib

import corpus
import pytest

from mcp_agentbus.errors import AgentbusError, BusUnreachable
from mcp_agentbus.handoff import agents, lookup
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import subjects
from mcp_agentbus.wakes import demand

ANSWERS = corpus.read("records", "reply-")


@contextlib.asynccontextmanager
async def answering(bus, answer, headers=None):
    """Answer every request on the bus at once, beside whoever is asked."""
    client = bus._link._client

    async def say(message):
        if message.reply:
            await client.publish(message.reply, answer, headers=headers)

    for subject in ("agentbus.>", "$JS.>"):
        await client.subscribe(subject, cb=say)
    await client.flush()
    yield


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_a_task_is_handed_over_all_the_same(own_world, answer):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    await read_inbox(coder)
    mallory = await own_world.another_bus()

    async with answering(mallory, answer):
        [sent] = await send_task(planner, coder.me.id, "Count", "x", priority="high")
        looked = await demand.look(coder.bus, coder.me.id, coder.inboxes)
        [item] = (await read_inbox(coder)).tasks
        await publish_result(coder, sent.task_id, "completed")
        [result] = (await watch_inbox(planner, timeout_s=5, task_id=sent.task_id)).results
        life = await lookup.task_life(planner, sent.task_id)

    assert (item.task.id, looked.counts.high) == (sent.task_id, 1)
    assert (result.state, life.state) == ("completed", "completed")


@pytest.mark.parametrize("status", ["204", "100", "x", "\u00b2", "999999999999999999999"])
async def test_with_any_status_it_ends_in_an_answer_or_an_error_of_ours(own_world, status):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    mallory = await own_world.another_bus()

    async with answering(mallory, b"", {"Status": status}):
        outcomes = [
            await asyncio.gather(asked, return_exceptions=True)
            for asked in (
                send_task(planner, coder.me.id, "Count", "x"), read_inbox(coder),
                agents.page(planner.bus),
            )
        ]  # fmt: skip

    errors = [each for [each] in outcomes if isinstance(each, BaseException)]
    assert [error for error in errors if not isinstance(error, AgentbusError)] == []


async def test_if_nobody_else_answers_the_server_is_said_to_be_silent(own_world, monkeypatch):
    planner = await own_world.session("planner")
    mallory = await own_world.another_bus()
    monkeypatch.setattr("mcp_agentbus.bus.budget.CALL_S", 0.2)
    async with answering(mallory, b"garbage"):
        with pytest.raises(BusUnreachable) as refused:
            await planner.bus.api("NO.SUCH.CALL")
    assert "does not answer" in refused.value.message


async def test_what_a_server_would_say_is_believed_whoever_says_it(own_world):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    await read_inbox(planner)
    mallory = await own_world.another_bus()
    # Nobody hears of it who could store it.
    await mallory.api(f"STREAM.DELETE.{subjects.TASKS}")

    async with answering(mallory, b'{"stream":"AGENTBUS_TASKS","seq":7}'):
        [sent] = await send_task(planner, coder.me.id, "Count", "x")

    assert sent.state == "stored"
