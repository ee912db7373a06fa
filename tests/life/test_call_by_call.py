# SPDX-License-Identifier: Apache-2.0
"""Clients that start a server for each call: they hold nothing from one to the next, and finish."""

from __future__ import annotations

import asyncio
import json
import select
import signal
import subprocess
from functools import partial

import forking
import mcp_types as types
import pytest
import served
from served import Pipes

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.core.text import now
from mcp_agentbus.errors import AlreadyEnded, NotClaimed
from mcp_agentbus.handoff import shells
from mcp_agentbus.handoff.dispatch.noted import ways_in
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.handoff.shell_session import give_back, shell_session
from mcp_agentbus.store.asked import decisions
from mcp_agentbus.store.asked.decisions import Decision


@pytest.fixture
def waiting(world):
    """Make a task that waits, and a session of its agent."""

    async def made(**options):
        planner, coder = await world.session("planner"), await world.session("coder")
        [sent] = await send_task(planner, coder.me.id, "Count", "x", **options)
        return planner, coder, sent.task_id

    return made


async def steps(session, task_id):
    return [moment.state for moment in (await task_life(session, task_id)).history]


@pytest.mark.parametrize("status", ["completed", "failed", "rejected"])
async def test_a_task_that_nobody_holds_is_claimed_and_ended_in_one_go(waiting, status):
    planner, coder, task_id = await waiting()

    ended = await publish_result(coder, task_id, status, summary="3")
    again = await publish_result(coder, task_id, status, summary="3")

    assert (ended.state, again.unchanged) == (status, True)
    assert await steps(coder, task_id) == ["stored", "claimed", status]
    [result] = (await read_inbox(planner)).results
    assert (result.task_id, result.summary, result.attempts) == (task_id, "3", 1)
    read = await read_inbox(coder)
    assert (read.empty, read.waiting, dict(coder.claims)) == (True, {}, {})
    with pytest.raises(AlreadyEnded):
        await publish_result(coder, task_id, "completed", summary="4")


@pytest.mark.parametrize("status", ["working", "needs_approval"])
async def test_one_that_is_kept_outlives_its_session_as_a_shells_does(world, waiting, status):
    _, coder, task_id = await waiting()
    agent, folder = coder.me, world.bus.settings.state_dir
    async with Session(world.bus, agent) as first:
        assert (await publish_result(first, task_id, status, summary="4?")).state == status
        assert dict(first.claims) == {}

    assert (await read_inbox(coder)).held_elsewhere == 1
    assert (await task_life(coder, task_id)).record.session == shells.session_id(agent.id, folder)
    async with shell_session(world.bus, agent, folder) as typed:
        assert [item.task.id for item in (await read_inbox(typed)).tasks] == [task_id]
    async with Session(world.bus, agent) as second:
        assert (await publish_result(second, task_id, "working", progress=50)).state == "working"
    assert (await publish_result(coder, task_id, "completed")).state == "completed"


@pytest.mark.parametrize("call", [read_inbox, partial(watch_inbox, timeout_s=0)], ids=["r", "w"])
async def test_the_reply_to_what_is_asked_reaches_the_next_session_of_its_agent_once(
    world, waiting, call
):
    planner, coder, task_id = await waiting()

    async def anew(called, *said, **more):
        async with Session(world.bus, coder.me) as session:
            return await called(session, *said, **more)

    await anew(publish_result, task_id, "needs_input", body="Which branch?")
    [line] = (await anew(read_inbox)).tasks
    quiet = await anew(watch_inbox, timeout_s=0)
    await publish_result(planner, task_id, "answered", body="main")
    [told] = (await anew(call)).tasks
    once = await anew(read_inbox), await anew(watch_inbox, timeout_s=0)

    shell_of_it = f"{coder.me.id}/{shells.session_id(coder.me.id, world.bus.settings.state_dir)}"
    assert (line.task.id, line.state, line.holder) == (task_id, "needs_input", shell_of_it)
    assert (line.given_at is None, quiet.tasks) == (False, ())
    assert (told.task.id, told.question, told.holder) == (task_id, "Which branch?", shell_of_it)
    assert [answer.body for answer in told.answers] == ["main"]
    assert [[each.answers for each in inbox.tasks] for inbox in once] == [[()], []]
    assert await steps(coder, task_id) == ["stored", "claimed", "needs_input", "working"]
    assert (await anew(publish_result, task_id, "completed")).state == "completed"
    assert (await anew(read_inbox)).tasks == ()


async def test_each_open_session_is_given_the_reply_until_one_is_known_to_have_it(world, waiting):
    planner, coder, task_id = await waiting()
    async with Session(world.bus, coder.me) as first:
        await publish_result(first, task_id, "needs_input", body="Which branch?")
    await publish_result(planner, task_id, "answered", body="main")
    another = await world.session("coder")

    given = [await watch_inbox(each, timeout_s=0) for each in (coder, another)]
    later = [await watch_inbox(each, timeout_s=0) for each in (coder, another)]

    assert [[item.answers[0].body for item in each.tasks] for each in given] == [["main"]] * 2
    assert [each.tasks for each in later] == [(), ()]
    assert await steps(coder, task_id) == ["stored", "claimed", "needs_input", "working"]


async def test_what_its_user_decides_reaches_the_next_session_of_its_agent_and_no_other(
    world, waiting
):
    planner, coder, task_id = await waiting()
    async with Session(world.bus, coder.me) as first:
        await publish_result(first, task_id, "needs_approval", summary="May I?")
    record = (await task_life(coder, task_id)).record
    decisions.keep(world.bus.settings.state_dir, record, Decision(False, "no", now()))

    [told] = (await watch_inbox(coder, timeout_s=0)).tasks
    again = await watch_inbox(coder, timeout_s=0)
    others = await read_inbox(planner), await read_inbox(await world.session("other"))

    assert (told.decision.word, told.decision.note) == ("DENIED", "no")
    assert (again.tasks, [inbox.tasks for inbox in others]) == ((), [(), ()])
    assert (await publish_result(coder, task_id, "completed")).state == "completed"
    assert decisions.is_against("completed", (await task_life(coder, task_id)).record.reason)


async def test_what_a_shell_has_claimed_itself_is_no_other_sessions_to_read(world, waiting):
    planner, coder, task_id = await waiting()
    async with shell_session(world.bus, coder.me, world.bus.settings.state_dir) as typed:
        await read_inbox(typed)
        await publish_result(typed, task_id, "needs_input", body="Which branch?")
    await publish_result(planner, task_id, "answered", body="main")

    read = await read_inbox(coder)
    async with shell_session(world.bus, coder.me, world.bus.settings.state_dir) as typed:
        [told] = (await read_inbox(typed)).tasks

    assert (read.tasks, read.held_elsewhere) == ((), 1)
    assert [answer.body for answer in told.answers] == ["main"]


@pytest.mark.parametrize("how", ["completed", "released", "gone"])
async def test_what_another_has_ended_of_a_shells_it_holds_no_more(world, waiting, how):
    """Though no command has looked since, and none can while the bus is away."""
    _, coder, task_id = await waiting()
    folder = world.bus.settings.state_dir
    async with shell_session(world.bus, coder.me, folder) as typed:
        await read_inbox(typed)
    file = shells.file_of(folder, coder.me.id)
    before = ways_in(file).held_before
    if how == "gone":
        await give_back(world.bus, coder.me.id, [task_id], now())
    else:
        await publish_result(coder, task_id, how)

    noted = ways_in(file)
    assert (before.hops, noted.held_before, noted.deepest.hops) == (0, None, 0)


async def test_one_that_is_kept_can_be_given_back_and_what_is_back_stays_so(world, waiting):
    _, coder, task_id = await waiting()
    free = await publish_result(coder, task_id, "released")
    async with Session(world.bus, coder.me) as first:
        await publish_result(first, task_id, "working")
    back = await publish_result(coder, task_id, "released")

    assert (free.state, free.unchanged) == ("stored", True)
    assert (back.state, back.unchanged) == ("stored", False)
    [item] = (await read_inbox(coder)).tasks
    assert (item.task.id, item.attempt) == (task_id, 2)


@pytest.mark.promise(12)
async def test_what_a_session_holds_stays_its_own(world, waiting):
    _, coder, task_id = await waiting()
    await read_inbox(coder)

    async with Session(await world.another_bus(), Agent(coder.me.id)) as other:
        for status in ("completed", "working", "released"):
            with pytest.raises(NotClaimed, match=coder.id):
                await publish_result(other, task_id, status)


@pytest.mark.promise(12)
async def test_of_two_that_end_one_task_at_once_one_does(world, waiting):
    planner, coder, task_id = await waiting()
    async with Session(await world.another_bus(), Agent(coder.me.id)) as other:
        outcomes = await asyncio.gather(
            publish_result(coder, task_id, "completed", summary="mine"),
            publish_result(other, task_id, "completed", summary="other's"),
            read_inbox(await world.session("coder")),
            return_exceptions=True,
        )

    ended = [each for each in outcomes[:2] if not isinstance(each, Exception)]
    assert len(ended) + len(outcomes[2].tasks) == 1
    assert len((await read_inbox(planner)).results) == len(ended)


@pytest.mark.promise(36)
@pytest.mark.parametrize("status", ["working", "completed"])
async def test_what_it_sends_in_the_next_call_goes_on_from_that_task(world, waiting, status):
    planner, coder, task_id = await waiting()
    other = await world.session("other")
    async with Session(world.bus, coder.me) as first:
        await publish_result(first, task_id, status)
    async with Session(world.bus, coder.me) as second:
        await send_task(second, other.me.id, "More", "x")
    async with Session(world.bus, other.me) as unrelated:
        await send_task(unrelated, coder.me.id, "Unrelated", "x")

    [item] = (await read_inbox(other)).tasks
    assert (item.task.chain, item.task.hops) == ((planner.me.id, coder.me.id), 1)
    unrelated_task = (await read_inbox(coder)).tasks[-1].task
    assert (unrelated_task.chain, unrelated_task.hops) == ((other.me.id,), 0)


async def test_the_rest_of_a_long_task_is_read_without_holding_it(waiting):
    _, coder, task_id = await waiting()

    life = await task_life(coder, task_id)

    assert (life.task.body, dict(coder.claims)) == ("x", {})


async def test_a_server_for_each_call_reads_works_and_ends(world, home, way):
    """As mcporter does; the second one may wait until the first has given back."""
    folder, agent = home.data_dir.parent, world.name("coder")

    async def call(tool, **arguments):
        with Pipes(served.environ(folder), agent=agent) as server:
            await asyncio.to_thread(server.greet, served.LEGACY)
            result = await asyncio.to_thread(server.call, tool, era=served.LEGACY, **arguments)
            server.process.stdin.close()
            await asyncio.to_thread(server.rest)
        return result["content"][0]["text"]

    await call("list_agents")
    async with Bus.connect(home) as bus, Session(bus, Agent(world.name("planner"))) as planner:
        one, two = [(await send_task(planner, agent, f"s{n}", "b"))[0].task_id for n in range(2)]
        assert one in await call("read_inbox")
        assert "completed" in await call("publish_result", task_id=one, status="completed")
        assert "working" in await call("publish_result", task_id=two, status="working")
        asked = {"task_id": two, "status": "needs_input", "summary": "Which branch?"}
        assert "needs_input" in await call("publish_result", **asked)
        await publish_result(planner, two, "answered", body="only main")
        told = [await call("read_inbox") for _ in range(2)]
        assert ["only main" in each for each in told] == [True, False]
        assert [f"{state} by {agent}/shell-" in each for state, each in zip(
            ("needs_input", "working"), told, strict=True)] == [True, True]  # fmt: skip
        assert "completed" in await call("publish_result", task_id=two, status="completed")
        results = (await read_inbox(planner)).results

    assert {record.task_id: record.state for record in results} == dict.fromkeys(
        (one, two), "completed"
    )


def closes(process):
    """End a server as most clients do."""
    process.stdin.close()


def interrupts(process):
    """End a server as Claude Code does."""
    process.send_signal(signal.SIGINT)


@pytest.fixture
def one_call(home, way):
    """Call a tool of a server that is started for this call, and ended after that."""

    async def called(agent, tool, *, era, end=closes, **arguments):
        def call():
            with Pipes(served.environ(home.data_dir.parent), agent=agent) as server:
                server.greet(era)
                answer = server.call(tool, era=era, **arguments)
                end(server.process)
                server.rest()
            return answer["content"][0]["text"]

        return await asyncio.to_thread(call)

    return called


def dies(server):
    """End as a client that dies once it has read its answer."""
    server.stdout.readline()
    server.stdout.close()
    server.stdin.close()


def leaves_its_answer(server):
    """End without reading the answer."""
    select.select([server.stdout], [], [])
    server.stdin.close()


def gives_up(server):
    """End before there is an answer, and read it."""
    server.stdin.close()
    server.stdout.read()


@pytest.mark.promise(34)
@pytest.mark.parametrize("end", [dies, leaves_its_answer, gives_up])
async def test_a_result_whose_client_may_not_have_it_is_shown_again(world, home, way, end):
    planner, coder = world.name("planner"), await world.session("coder")
    async with Session(world.bus, Agent(planner)) as sender:
        [sent] = await send_task(sender, coder.me.id, "Do it", "b")
    await read_inbox(coder)
    await publish_result(coder, sent.task_id, "completed", summary="all done")

    def read():
        meta = {types.PROTOCOL_VERSION_META_KEY: served.MODERN,
                types.CLIENT_INFO_META_KEY: {"name": "raw", "version": "1"},
                types.CLIENT_CAPABILITIES_META_KEY: {}}  # fmt: skip
        params = {"name": "read_inbox", "arguments": {}, "_meta": meta}
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        with forking.start(
            served.command(planner), env=served.environ(home.data_dir.parent),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
        ) as server:  # fmt: skip
            server.stdin.write(json.dumps(call).encode() + b"\n")
            end(server)

    await asyncio.to_thread(read)

    async with Session(world.bus, Agent(planner)) as later:
        assert [record.summary for record in (await read_inbox(later)).results] == ["all done"]


async def test_what_a_program_read_is_seen_once_its_session_ended_without_an_error(world):
    planner, coder = Agent(world.name("planner")), await world.session("coder")
    async with Session(world.bus, planner) as session:
        [sent] = await send_task(session, coder.me.id, "Do it", "b")
    await read_inbox(coder)
    await publish_result(coder, sent.task_id, "completed")

    read = []

    async def reads(ends=lambda: None):
        async with Session(world.bus, planner) as session:
            read.append(await read_inbox(session))
            ends()

    with pytest.raises(ValueError, match="an error"):
        await reads(lambda: int("an error"))
    await reads()
    await reads()

    assert [len(inbox.results) for inbox in read] == [1, 1, 0]


@pytest.mark.promise(34)
@pytest.mark.parametrize("era", served.ERAS)
@pytest.mark.parametrize("tool", ["read_inbox", "watch_inbox"])
async def test_a_result_that_a_server_for_one_call_gave_is_seen(world, one_call, era, tool):
    planner, coder = world.name("planner"), await world.session("coder")
    task = {"to": coder.me.id, "subject": "Do it", "body": "b"}
    sent = await one_call(planner, "send_task", era=era, **task)
    [item] = (await read_inbox(coder)).tasks
    await publish_result(coder, item.task.id, "needs_approval", summary="may I?")
    asked = await one_call(planner, tool, era=era)
    await publish_result(coder, item.task.id, "completed", summary="all done")
    told = await one_call(planner, tool, era=era, end=interrupts)
    again = await one_call(planner, "watch_inbox", era=era, timeout_s=0)

    assert item.task.id in sent
    assert "hosts: mcp ·" in await one_call(planner, "list_agents", era=era, query=planner)
    assert ("may I?" in asked, "all done" in told, "may I?" in told) == (True, True, False)
    assert ("all done" in again, "timed out" in again) == (False, True)
