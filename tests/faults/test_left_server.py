# SPDX-License-Identifier: Apache-2.0
"""A host that leaves a server and starts a second one for the same session: the second goes on."""

from __future__ import annotations

import asyncio
import shlex
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest
import pytest_asyncio
import served
from listeners import listening
from served import LEGACY, Pipes

from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task

WAYS = ["alone", "relayed", "the second relayed"]


@pytest_asyncio.fixture
async def planner(own_world):
    """A session on a server of the test's own."""
    return await own_world.session("planner")


@pytest_asyncio.fixture(params=WAYS)
async def pair(request, planner):
    """Two servers of one session of a host; what they are served by."""
    host_session, settings = str(uuid4()), planner.bus.settings
    async with AsyncExitStack() as stack:
        if request.param == "relayed":
            await stack.enter_async_context(listening(settings))
        first = stack.enter_context(server(planner, host_session))
        await started(first)
        if request.param == "the second relayed":
            await stack.enter_async_context(listening(settings))
        second = stack.enter_context(server(planner, host_session))
        await started(second)
        yield first, second


def server(planner, host_session, argv=None):
    environ = served.environ(planner.bus.settings.data_dir.parent)
    environ |= {"CLAUDECODE": "1", "CLAUDE_CODE_SESSION_ID": host_session}
    return Pipes(environ, argv, agent="coder")


async def ask(pipes, tool, **arguments):
    """Return what a call is answered, and whether that is an error."""
    params = {"name": tool, "arguments": arguments}
    answer = await asyncio.to_thread(pipes.ask, "tools/call", params, era=LEGACY)
    return answer["result"]["content"][0]["text"], answer["result"].get("isError", False)


async def started(pipes):
    await asyncio.to_thread(pipes.greet, LEGACY)
    return pipes


@pytest.mark.promise(12)
async def test_the_second_server_has_what_the_first_held_and_the_first_says_so(planner, pair):
    first, second = pair
    await ask(first, "list_agents")
    [sent] = await send_task(planner, "coder", "Count", "the tests")
    assert "the tests" in (await ask(first, "read_inbox"))[0]
    waits = {"name": "watch_inbox", "arguments": {"timeout_s": 600}}
    waiting = first.request("tools/call", waits, era=LEGACY)

    read, _ = await ask(second, "read_inbox")
    left = await asyncio.to_thread(first.message)
    refused = await ask(first, "read_inbox")
    await asyncio.to_thread(first.process.stdin.close)
    await asyncio.to_thread(first.rest)
    ended, failed = await ask(second, "publish_result", task_id=sent.task_id, status="completed")

    assert f"the whole: read_inbox(task_id='{sent.task_id}')" in read
    assert left["id"] == waiting
    assert "was replaced" in left["result"]["content"][0]["text"]
    assert ("was replaced" in refused[0], refused[1]) == (True, True)
    assert ("completed" in ended, failed) == (True, False)
    life = await task_life(planner, sent.task_id)
    assert [moment.state for moment in life.history] == ["stored", "claimed", "completed"]


@pytest.mark.promise(34)
async def test_it_names_what_the_first_had_shown_and_knows_by_what_way_its_work_came(
    own_world, planner, pair
):
    first, second = pair
    other = await own_world.session("other")
    await ask(first, "list_agents")
    [cause] = await send_task(planner, "coder", "Count", "x")
    await ask(first, "read_inbox")
    await ask(first, "send_task", to=other.me.id, subject="Help", body="x")
    [item] = (await read_inbox(other)).tasks
    await publish_result(other, item.task.id, "completed", summary="help")
    await ask(first, "publish_result", task_id=cause.task_id, status="completed")
    assert "help" in (await ask(first, "watch_inbox", timeout_s=30))[0]

    named, _ = await ask(second, "watch_inbox", timeout_s=0)
    settled, _ = await ask(second, "watch_inbox", timeout_s=0)
    await ask(second, "send_task", to=other.me.id, subject="More", body="x")
    [more] = (await read_inbox(other)).tasks

    assert f"the whole: read_inbox(task_id='{item.task.id}')" in named
    assert "timed out" in settled
    assert more.task.chain == (planner.me.id, "coder")


async def test_the_first_works_again_once_the_second_has_ended(planner, pair):
    """As where a part of a session has a server of its own for a while."""
    first, second = pair
    await ask(first, "list_agents")
    [sent] = await send_task(planner, "coder", "Count", "the tests")
    await ask(first, "read_inbox")
    await ask(second, "read_inbox")
    _, refused = await ask(first, "list_agents")
    await asyncio.to_thread(second.process.stdin.close)
    await asyncio.to_thread(second.rest)

    read, failed = await ask(first, "watch_inbox", timeout_s=30)
    ended, _ = await ask(first, "publish_result", task_id=sent.task_id, status="completed")

    assert (refused, failed) == (True, False)
    assert "the tests" in read
    assert "completed" in ended


@pytest.mark.parametrize("differs", ["session", "process"])
async def test_another_session_or_host_leaves_a_server_what_it_has(planner, differs):
    host_session, argv = str(uuid4()), None
    if differs == "process":  # a shell that stays between
        argv = ["sh", "-c", f"{shlex.join(served.command('coder'))}; exit 0"]
    another = host_session if differs == "process" else str(uuid4())
    with server(planner, host_session) as first, server(planner, another, argv) as second:
        await started(first)
        await ask(first, "list_agents")
        [sent] = await send_task(planner, "coder", "Count", "the tests")
        await ask(first, "read_inbox")
        await started(second)
        read, _ = await ask(second, "read_inbox")
        ended, failed = await ask(first, "publish_result", task_id=sent.task_id, status="failed")
        second.process.stdin.close()
        await asyncio.to_thread(second.rest)

    assert "nothing new" in read
    assert ("failed" in ended, failed) == (True, False)


@pytest.mark.promise(46)
async def test_a_session_that_goes_on_without_its_listener_is_no_second_one(planner):
    async with listening(planner.bus.settings) as listener:
        with server(planner, str(uuid4())) as host:
            await started(host)
            await ask(host, "list_agents")
            [sent] = await send_task(planner, "coder", "Count", "the tests")
            await ask(host, "read_inbox")
            joined = await listener.logged("joined", agent="coder")
            await listener.end()
            ended, failed = await ask(
                host, "publish_result", task_id=sent.task_id, status="completed"
            )

    assert joined
    assert ("completed" in ended, failed) == (True, False)
