# SPDX-License-Identifier: Apache-2.0
"""A session whose window has a monitor: it is one session, and told by one of them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import signal
import socket
import sys

import pytest
import served
from halting import halt
from hooking import (
    HIGH,
    RESULT,
    Host,
    interactive,
    line,
    monitor,
    notice,
    session,
)
from listeners import (
    ATTENTIVE,
    known,
    listening,
    send,
)

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.relay import local_socket


async def test_where_a_sessions_server_cannot_tell_it_its_monitor_does(house, planner, notes):
    await known(planner, "seven")
    nowhere = interactive("s-seven", notes / "nowhere")
    environ = served.environ(house.data_dir.parent) | nowhere
    async with (
        listening(house, script=ATTENTIVE) as listener,
        monitor(listener, environ, "seven") as lines,
    ):
        with served.Pipes(environ, agent="seven") as pipes:
            await asyncio.to_thread(pipes.greet, served.MODERN)
            await listener.logged("joined", agent="seven")
            await send(planner, "seven")
            told = await line(lines)
            await listener.logged("ended", agent="seven", outcome="asked")

    assert told == HIGH + "\n"


@pytest.mark.parametrize("allowed", ["before", "meanwhile"])
async def test_a_session_is_told_of_what_is_for_a_role_of_its_folders_file(
    house, planner, notes, allowed
):
    """Also where its user allows the file after it was opened, and before its first call."""
    name, shop = f"reviewer-{allowed}", notes / "shop"
    shop.mkdir()
    (shop / ".agentbus.toml").write_text(f'agent = "{name}"\nroles = ["{name}"]\n')
    allow = functools.partial(served.typed, house.data_dir.parent, "agent", "allow", str(shop))
    if allowed == "before":
        await allow()
    async with (
        listening(house, script=ATTENTIVE) as listener,
        session(house, name, notes, cwd=shop) as (pipes, notices),
    ):
        await listener.logged("joined")
        await allow()
        await asyncio.to_thread(pipes.call, "read_inbox")
        await listener.logged("ready", agent=name)
        await send(planner, f"role:{name}")
        told = await notice(notices)

    assert told == HIGH


async def test_a_window_with_a_monitor_is_one_session_and_the_monitor_tells_it(
    house, planner, notes
):
    await known(planner, "nine")
    environ = served.environ(house.data_dir.parent) | interactive("s-nine", notes / "nine.sock")
    async with (
        listening(house, script=ATTENTIVE) as listener,
        session(house, "nine", notes) as (pipes, notices),
        monitor(listener, environ, "nine") as lines,
    ):
        await listener.logged("joined", agent="nine")
        await send(planner, "nine")
        told = await line(lines)
        await listener.logged("ended", agent="nine", outcome="asked")
        again = await Host(house, "nine")("UserPromptSubmit")
        answer = await asyncio.to_thread(local_socket.ask, house, {"op": "status"})
        await asyncio.to_thread(pipes.call, "read_inbox")

    [nine] = [agent for agent in answer["agents"] if agent["agent"] == "nine"]
    assert nine["sessions"] == 1
    assert (told, again) == (HIGH + "\n", "")
    assert notices.empty()


@pytest.mark.skipif(sys.platform != "linux", reason="the id is found by the parent's process id")
@pytest.mark.parametrize(
    ("me", "serves_itself"),
    [("itself", True), ("relayed", False)],
    ids=["serves itself", "relayed"],
)
async def test_a_session_is_told_of_results_by_its_monitor_and_of_none_that_it_has_shown(
    house, planner, notes, me, serves_itself
):
    """One that serves itself is, for one, the first of a day, which has started the listener."""
    await known(planner, "coder")
    noted = house.data_dir.parent / ".claude" / "sessions" / f"{os.getpid()}.json"
    environ = served.environ(house.data_dir.parent) | interactive(f"s-{me}", notes / f"{me}.sock")
    async with contextlib.AsyncExitStack() as stack:
        if serves_itself:
            pipes, notices = await stack.enter_async_context(session(house, me, notes))
        listener = await stack.enter_async_context(listening(house, script=ATTENTIVE))
        if not serves_itself:
            pipes, notices = await stack.enter_async_context(session(house, me, notes))
        lines = await stack.enter_async_context(monitor(listener, environ, me))
        coder = await stack.enter_async_context(Session(planner.bus, Agent("coder")))
        await listener.logged("joined", agent=me)
        for _ in range(2):
            await asyncio.to_thread(pipes.call, "send_task", to="coder", subject="s", body="b")
        first, second = [item.task.id for item in (await read_inbox(coder)).tasks]
        await publish_result(coder, first, "completed")
        told = await line(lines)
        await asyncio.to_thread(pipes.call, "read_inbox")
        noted.parent.mkdir(parents=True, exist_ok=True)
        noted.write_text(json.dumps({"sessionId": "s-cleared"}))
        shown = await Host(house, me, session="s-cleared")("UserPromptSubmit")
        # Though no call has told yet that the first has arrived.
        await publish_result(coder, second, "completed")
        later = await line(lines)

    assert [told, later] == [RESULT + "\n"] * 2
    assert notices.empty()
    assert shown == ""


async def test_beside_a_server_that_hangs_and_may_tell_it_yet_its_monitor_is_silent(
    house, planner, notes
):
    await known(planner, "eight")
    environ = served.environ(house.data_dir.parent)
    async with (
        listening(house, script=ATTENTIVE) as listener,
        monitor(listener, environ, "eight") as lines,
        session(house, "eight", notes) as (pipes, notices),
    ):
        await listener.logged("joined", agent="eight")
        halt(pipes.process.pid)
        await send(planner, "eight")
        await listener.logged("ended", agent="eight", outcome="failed")
        pipes.process.send_signal(signal.SIGCONT)
        told = await notice(notices)
    said = await lines.read()

    assert told == HIGH
    assert said == b""


@pytest.mark.parametrize("stream", [os.pipe, socket.socketpair])
async def test_a_monitor_that_nobody_reads_any_more_ends(house, planner, stream):
    """As where its host was killed: else its session would count as one that can be told."""
    await known(planner, "unread")
    environ = served.environ(house.data_dir.parent)
    read, written = (each if isinstance(each, int) else each.detach() for each in stream())
    async with listening(house) as listener:
        process = await asyncio.create_subprocess_exec(
            *served.living("watch", "--notices", "--agent", "unread", after_s=0),
            env=environ, stdout=written, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        os.close(written)
        await listener.logged("joined", agent="unread")
        assert process.returncode is None
        os.close(read)
        async with asyncio.timeout(20):
            complaint = await process.stderr.read()

    assert (await process.wait(), complaint) == (0, b"")
