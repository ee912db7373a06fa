# SPDX-License-Identifier: Apache-2.0
"""Clients that give a call up and do not say so, and several models that share one server."""

from __future__ import annotations

import asyncio
import json

import pytest
import served
from served import Pipes

from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task


@pytest.fixture
def server(world, home, way):
    """A server of an agent that is known."""
    with Pipes(served.environ(home.data_dir.parent), agent=world.name("coder")) as pipes:
        pipes.greet(served.LEGACY)
        pipes.call("read_inbox", era=served.LEGACY)
        yield pipes


def call(server, tool, **arguments):
    """Call a tool without waiting for the answer."""
    params = {"name": tool, "arguments": arguments}
    return server.request("tools/call", params, era=served.LEGACY)


async def answers(server, count):
    """Return the texts of the next answers, by their requests."""
    messages = [await asyncio.to_thread(server.message) for _ in range(count)]
    return {each["id"]: each["result"]["content"][0]["text"] for each in messages}


async def sent(world, agent, count):
    planner = await world.session("planner")
    receipts = [await send_task(planner, agent, "Subject", f"body {n}") for n in range(count)]
    return planner, [each[0].task_id for each in receipts]


async def ask(server, tool, **arguments):
    number = call(server, tool, **arguments)
    return (await answers(server, 1))[number]


async def test_of_three_calls_at_once_each_gets_a_task_and_none_two(world, server):
    _, tasks = await sent(world, server.agent, 3)

    for _ in range(3):
        call(server, "read_inbox", limit=1)
    texts = (await answers(server, 3)).values()

    assert sorted(text.count("body") for text in texts) == [1, 1, 1]
    assert all(sum(f"body {n}" in text for text in texts) == 1 for n in range(3))
    last = await ask(server, "read_inbox")
    assert all(task_id in last for task_id in tasks)
    assert "body" not in last


async def test_a_task_that_an_abandoned_call_got_is_named_by_the_next(world, server):
    given_up = call(server, "watch_inbox", timeout_s=600)
    await ask(server, "list_agents")
    _, [task_id] = await sent(world, server.agent, 1)
    # Its answer comes, and its client has forgotten what that is of.
    assert task_id in (await answers(server, 1))[given_up]

    again = await ask(server, "watch_inbox", timeout_s=600)

    assert f"the whole: read_inbox(task_id='{task_id}')" in again
    assert "body 0" in await ask(server, "read_inbox", task_id=task_id)
    assert "timed out" in await ask(server, "watch_inbox", timeout_s=0)


@pytest.mark.promise(34)
async def test_a_result_that_an_abandoned_call_got_is_named_by_the_next(world, server):
    coder = await world.session("other")
    answer = json.loads(
        json.dumps(await asyncio.to_thread(
            server.call, "send_task", era=served.LEGACY,
            to=coder.me.id, subject="Do it", body="b",
        ))
    )["structuredContent"]  # fmt: skip
    task_id = answer["receipts"][0]["task_id"]
    given_up = call(server, "watch_inbox", timeout_s=600)
    await ask(server, "list_agents")
    await read_inbox(coder)
    await publish_result(coder, task_id, "completed", summary="done")
    assert "done" in (await answers(server, 1))[given_up]

    again = await ask(server, "read_inbox")

    assert f"the whole: read_inbox(task_id='{task_id}')" in again
    assert "done" in await ask(server, "read_inbox", task_id=task_id)
    assert task_id not in await ask(server, "read_inbox")


async def test_a_task_of_a_call_whose_client_says_late_that_it_gave_up_is_whole_again(
    world, server
):
    _, [task_id] = await sent(world, server.agent, 1)
    number = call(server, "read_inbox")
    assert "body 0" in (await answers(server, 1))[number]
    about = {"requestId": number, "reason": "a test"}
    server.write(
        json.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": about})
    )

    assert "body 0" in await ask(server, "read_inbox")
    assert "body 0" not in await ask(server, "read_inbox")
    assert task_id
