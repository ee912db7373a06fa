# SPDX-License-Identifier: Apache-2.0
"""Sessions that a listener serves: they outlive it with all that they hold, and know no other bus."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import forking
import pytest
import served
from halting import halted
from listeners import busy, false_listener, listening
from served import ERAS, Pipes

from mcp_agentbus.bus import embedded
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.relay import local_socket
from mcp_agentbus.tools.catalog import TOOLS

# How a listener ends knows no era, and the two tests below pair them the other way round.
ENDS = (signal.SIGKILL, signal.SIGTERM)


def status(planner):
    return local_socket.ask(planner.bus.settings, {"op": "status"})


def pipes(planner, agent="coder", **environ):
    return Pipes(served.environ(planner.bus.settings.data_dir.parent) | environ, agent=agent)


async def held_by(server, planner, era):
    """Have a session claim a task once the listener knows it; return the task's id."""
    await asyncio.to_thread(server.call, "list_agents", era=era)
    [receipt] = await send_task(planner, "coder", "Count", "the tests")
    await asyncio.to_thread(server.call, "read_inbox", era=era)
    return receipt.task_id


async def ends(planner, task_id):
    life = await task_life(planner, task_id)
    return [one.state for one in life.history]


@pytest.mark.started
async def test_a_relayed_session_loads_neither_the_sdk_nor_the_bus(planner):
    async with listening(planner.bus.settings):
        with pipes(planner) as server:
            server.greet(served.MODERN)
            await asyncio.to_thread(server.call, "list_agents")
            maps = Path(f"/proc/{server.process.pid}/maps")
            loaded = await asyncio.to_thread(maps.read_text)
            assert (await asyncio.to_thread(status, planner))["relayed"] == 1

    assert "pydantic" not in loaded
    assert "_ssl" not in loaded


@pytest.mark.promise(46)
@pytest.mark.parametrize(("how", "era"), [*zip(ENDS, ERAS, strict=True)])
async def test_when_its_listener_ends_a_session_goes_on_with_what_it_holds(planner, era, how):
    async with listening(planner.bus.settings) as listener:
        with pipes(planner) as server:
            server.greet(era)
            joined = asyncio.create_task(listener.logged("joined", agent="coder"))
            task_id = await held_by(server, planner, era)
            await joined
            await listener.end(how)
            done = {"task_id": task_id, "status": "completed", "summary": "3"}
            await asyncio.to_thread(server.call, "publish_result", era=era, **done)

    assert await ends(planner, task_id) == ["stored", "claimed", "completed"]


@pytest.mark.parametrize("how", ENDS)
async def test_what_a_session_holds_is_its_own_though_its_configuration_breaks_meanwhile(
    planner, how
):
    config = planner.bus.settings.config_file
    async with listening(planner.bus.settings) as listener:
        with pipes(planner) as server:
            server.greet(served.MODERN)
            joined = asyncio.create_task(listener.logged("joined", agent="coder"))
            task_id = await held_by(server, planner, served.MODERN)
            await joined
            try:
                await asyncio.to_thread(config.write_text, "[agents")
                await listener.end(how)
                done = {"task_id": task_id, "status": "completed", "summary": "3"}
                await asyncio.to_thread(server.call, "publish_result", **done)
            finally:
                config.unlink()

    assert await ends(planner, task_id) == ["stored", "claimed", "completed"]


@pytest.mark.promise(46)
@pytest.mark.parametrize(("how", "era"), [*zip(ENDS, reversed(ERAS), strict=True)])
async def test_a_call_that_waits_when_its_listener_ends_is_answered_all_the_same(planner, era, how):
    async with listening(planner.bus.settings) as listener:
        with pipes(planner) as server:
            server.greet(era)
            await asyncio.to_thread(server.watch, era=era)
            await listener.end(how)
            waits = await asyncio.to_thread(server.message)  # the one that serves it now waits, too
            assert waits["method"] == "notifications/progress"
            [receipt] = await send_task(planner, "coder", "Count", "the tests")
            while "result" not in (answer := await asyncio.to_thread(server.message)):
                pass

    assert receipt.task_id in json.dumps(answer)


@pytest.mark.promise(46)
@pytest.mark.parametrize("known", [True, False])
async def test_a_send_under_way_when_its_listener_dies_is_repeated_only_if_that_is_safe(
    planner, known
):
    settings = planner.bus.settings
    nats = embedded.find(settings).pid
    async with listening(settings) as listener:
        with pipes(planner, agent="sender") as server:
            server.greet(served.MODERN)
            await asyncio.to_thread(server.call, "list_agents")
            with halted(nats):
                sent = {"to": "planner", "subject": "Count", "body": "the tests"}
                sent |= {"request_id": "once"} if known else {}
                call = {"name": "send_task", "arguments": sent}
                number = server.request("tools/call", call, era=served.MODERN)
                await asyncio.to_thread(are_passed_on, server, served.MODERN)
                await listener.end(signal.SIGKILL)
            answer = await asyncio.to_thread(server.message)
            assert answer["id"] == number

    stored = len((await read_inbox(planner)).tasks)
    if known:
        assert not answer["result"].get("isError")
        assert stored == 1
    else:
        assert "not known whether it was stored" in answer["result"]["content"][0]["text"]
        assert stored <= 1


@pytest.mark.promise(46)
@pytest.mark.parametrize("era", ERAS)
async def test_what_is_under_way_when_its_listener_is_told_to_end_is_done_before(planner, era):
    """A send that nobody could repeat, and one that comes in when the listener takes no more."""
    settings = planner.bus.settings
    nats = embedded.find(settings).pid
    async with listening(settings) as listener:
        with pipes(planner, agent="sender") as server:
            server.greet(era)
            await asyncio.to_thread(server.call, "list_agents", era=era)
            with halted(nats):
                sent = {"to": "planner", "subject": "Count", "body": "the tests"}
                call = {"name": "send_task", "arguments": sent}
                numbers = [server.request("tools/call", call, era=era)]
                await asyncio.to_thread(are_passed_on, server, era)
                listener.process.send_signal(signal.SIGTERM)
                await asyncio.to_thread(refuses, settings)
                numbers.append(server.request("tools/call", call, era=era))
            answers = [await asyncio.to_thread(server.message) for _ in numbers]
            assert await listener.end() == 0

    assert [answer["id"] for answer in answers] == numbers
    assert not any(answer["result"].get("isError") for answer in answers), answers
    assert len((await read_inbox(planner)).tasks) == 2


# A listener that waits for a session's next server for as long as that takes on a busy machine.
PATIENT = (
    "import sys; from mcp_agentbus.cli import main as cli; "
    "from mcp_agentbus.listener import daemon, relayed; from mcp_agentbus.tools import mcp_stream; "
    "mcp_stream._REPLACED_WITHIN_S = relayed._LEAVE_TIMEOUT_S = 60; daemon._ENDS_WITHIN_S = 70; "
    "sys.exit(cli.main(['listen']))"
)


@pytest.mark.started
@pytest.mark.promise(46)
async def test_a_listener_that_is_told_to_end_serves_until_its_sessions_can_go_on_at_once(planner):
    async with listening(planner.bus.settings, script=["-c", PATIENT]) as listener:
        with pipes(planner) as server:
            server.greet(served.MODERN)
            await asyncio.to_thread(server.watch)
            await listener.end(signal.SIGTERM)
            maps = Path(f"/proc/{server.process.pid}/maps")
            assert "pydantic" in await asyncio.to_thread(maps.read_text)
            waits = await asyncio.to_thread(server.message)
            assert waits["method"] == "notifications/progress"


def refuses(settings):
    """Return once the listener lets nobody in any more: it is about to leave its sessions."""
    with suppress(OSError):
        while True:
            local_socket.connect(settings).close()


def are_passed_on(server, era):
    """Return once the listener has begun what the session was asked before: it reads in order."""
    server.ask("tools/list", era=era)


def status_of_session(settings):
    """Return once the listener has answered, and so has read what was said to it before."""
    with local_socket.connect(settings) as connection:
        connection.sendall(local_socket.line({"op": "unknown"}))
        connection.recv(1)


@pytest.mark.parametrize("how", ["closed", signal.SIGTERM, signal.SIGKILL])
async def test_what_a_relayed_session_held_is_free_again_at_its_end(planner, how):
    async with listening(planner.bus.settings):
        with pipes(planner) as server:
            server.greet(served.MODERN)
            task_id = await held_by(server, planner, served.MODERN)
            async with Session(planner.bus, Agent("coder")) as other:
                await other.called()
                await other.can_read()
                if how == "closed":
                    server.process.stdin.close()
                else:
                    server.process.send_signal(how)
                with other.watches.begun() as watch:
                    async with asyncio.timeout(20):
                        while not (found := await read_inbox(other)).tasks:
                            await watch.wait()

    assert [item.task.id for item in found.tasks] == [task_id]


async def test_what_a_session_held_that_died_with_an_answer_unread_is_free_again(planner):
    settings = planner.bus.settings
    async with listening(settings):
        with pipes(planner) as server:
            server.greet(served.MODERN)
            held = [await held_by(server, planner, served.MODERN)]
            await asyncio.to_thread(server.watch)
            with halted(server.process.pid):
                with planner.watches.begun() as watch:
                    [receipt] = await send_task(planner, "coder", "Count", "the rest")
                    while "claimed" not in await ends(planner, receipt.task_id):
                        await watch.wait()
                await asyncio.to_thread(status_of_session, settings)
                server.process.kill()
            held.append(receipt.task_id)
            async with Session(planner.bus, Agent("coder")) as other:
                await other.called()
                await other.can_read()
                with other.watches.begun() as watch:
                    async with asyncio.timeout(20):
                        while len(other.claims) < len(held):
                            await read_inbox(other)
                            if len(other.claims) < len(held):
                                await watch.wait()
                assert set(other.claims) == set(held)


@pytest.mark.parametrize("answer", [b'{"error":"0.0.9","hint":""}\n', b"", b"what?\n"])
async def test_beside_a_listener_that_does_not_take_it_a_session_serves_itself(planner, answer):
    with false_listener(planner.bus.settings, answer), pipes(planner) as server:
        server.greet(served.MODERN)
        listed = await asyncio.to_thread(server.call, "list_agents")

    assert "coder: live session" in listed["content"][0]["text"]


@pytest.mark.parametrize(
    "request_", [{"version": "0.0.1"}, {"environ": {"AGENTBUS_HOME": "/elsewhere"}}, {"environ": 1}]
)
async def test_a_listener_takes_no_session_of_another_version_or_bus(planner, request_):
    async with listening(planner.bus.settings):
        found = {
            "op": "serve", "version": "0.1.0", "session": "a" * 16, "agent": "coder",
            "folder": "/", "environ": served.environ(planner.bus.settings.data_dir.parent),
        }  # fmt: skip
        with pytest.raises(local_socket.AgentbusError):
            await asyncio.to_thread(local_socket.ask, planner.bus.settings, found | request_)
        taken = await asyncio.to_thread(local_socket.ask, planner.bus.settings, found)

    assert taken["serving"] == "a" * 16


async def typed(planner, *argv):
    """Type `agentbus ARGV` as coder; return its process."""
    return await forking.Awaited.started(
        [*served.AGENTBUS, *argv, "--agent", "coder"],
        env=served.environ(planner.bus.settings.data_dir.parent),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


@pytest.mark.promise(46)
async def test_a_command_whose_listener_dies_is_done_all_the_same_and_once(planner):
    settings = planner.bus.settings
    nats = embedded.find(settings).pid
    async with listening(settings) as listener:
        await (await typed(planner, "agents")).rest()
        with halted(nats):
            sending = await typed(planner, "send", "planner", "Count", "the tests")
            await asyncio.to_thread(busy, settings)
            await listener.end(signal.SIGKILL)
        said = await sending.rest()

    assert sending.returncode == 0, said
    assert len((await read_inbox(planner)).tasks) == 1


async def test_a_text_that_is_too_long_for_the_local_socket_is_sent_all_the_same(planner, tmp_path):
    text = tmp_path / "body"
    await asyncio.to_thread(text.write_text, "x" * 60_000)
    async with listening(planner.bus.settings):
        send = ("send", "planner", "Count", "--body-file", str(text))
        said = await (await typed(planner, *send)).rest()

    assert b"stored as task" in said
    [item] = (await read_inbox(planner)).tasks
    assert len(item.task.body) == 60_000


async def test_a_command_that_is_interrupted_ends_in_the_listener_as_well(planner):
    async with listening(planner.bus.settings):
        watching = await typed(planner, "watch", "--timeout", "600")
        await asyncio.to_thread(busy, planner.bus.settings)
        watching.send_signal(signal.SIGINT)
        await watching.rest()
        await asyncio.to_thread(idle, planner.bus.settings)
        said = await (await typed(planner, "inbox")).rest()

    assert watching.returncode == 130
    assert b"Inbox of coder: ok" in said


def idle(settings):
    """Wait until the listener carries out no command."""
    while local_socket.ask(settings, {"op": "status"})["commands"]:
        pass


_LOADED = """
import os, sys
before = set(sys.modules)
from mcp_agentbus import __main__ as agentbus
os._exit = lambda code: print("loaded", code, sorted(set(sys.modules) - before)) or sys.exit()
agentbus.main()
"""


@pytest.mark.parametrize(
    "argv",
    [("send", "planner", "Count", "x"), ("inbox",), ("status",), ("watch", "--timeout", "0")],
)
async def test_a_command_that_the_listener_carries_out_loads_a_socket_and_our_own(planner, argv):
    settings = planner.bus.settings
    who = () if argv == ("status",) else ("--agent", "coder")
    async with listening(settings):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _LOADED, *argv, *who,
            env=served.environ(settings.data_dir.parent), stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, _ = await process.communicate()

    word, code, *loaded = re.sub(r"[][',]", "", said.decode().splitlines()[-1]).split()
    beside = {name for name in loaded if not name.startswith("mcp_agentbus")}
    assert (word, code in {"0", "4"}, beside) == ("loaded", True, {"_socket"})
    assert len(loaded) < 20


async def test_a_wait_that_an_earlier_server_began_ends_when_it_would_have(planner):
    async def progress(*_):
        pass

    async with asyncio.timeout(60):
        watching = TOOLS["watch_inbox"].run(planner, {"timeout_s": 3600}, progress, waited_s=3600.0)
        assert "timed out" in (await watching).text
