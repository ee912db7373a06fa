# SPDX-License-Identifier: Apache-2.0
"""The process that a host starts, with nothing but its pipes: quiet, clean and quick to end."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import forking
import pytest
import served
from local_server import is_gone, server_folder, server_pids, settings_at, until
from served import ERAS, MODERN, Pipes

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff import inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session

# 2 s are promised; the rest is for a machine that runs other tests meanwhile.
ENDS_WITHIN_S = 4

NOBODY = {"name": "nobody", "version": "1"}

# A server that writes to standard output in every way there is while it answers list_agents.
NOISY = """
import os, subprocess, sys
from mcp_agentbus.cli import main as cli
from mcp_agentbus.handoff import agents
quiet = agents.page
async def noisy(*args, **more):
    print("NOISE print", flush=True)
    print("NOISE original", file=sys.__stdout__, flush=True)
    os.write(1, b"NOISE descriptor\\n")
    subprocess.run(["echo", "NOISE child"], check=True)
    return await quiet(*args, **more)
agents.page = noisy
cli.main(["serve", "--agent", "coder"])
"""

# A host that starts a server on the pipes it got itself, says its process id, and waits.
HOST = """
import subprocess, sys, time
server = subprocess.Popen(sys.argv[1:])
print(server.pid, file=sys.stderr, flush=True)
server.wait()
"""

# One that ends as soon as its server has begun, and that server, which is slow to go on.
HASTY = """
import os, subprocess, sys
told, tells = os.pipe()
environ = {**os.environ, "TELLS": str(tells)}
server = subprocess.Popen(sys.argv[1:], pass_fds=[tells], env=environ)
print(server.pid, file=sys.stderr, flush=True)
os.read(told, 1)
"""
SLOW = """
import os, sys, time
parent = os.getppid()
from mcp_agentbus import __main__ as agentbus
os.write(int(os.environ["TELLS"]), b".")
while os.getppid() == parent:
    time.sleep(0.005)
sys.exit(agentbus.main())
"""


@pytest.fixture
def shared(home):
    """The environment of processes on the server that all tests share."""
    return served.environ(home.data_dir.parent)


@pytest.fixture
def empty(tmp_path):
    """The environment of a user who has no files at all."""
    folders = {
        name: str(tmp_path / name)
        for name in ("HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "TMPDIR")
    }
    for folder in folders.values():
        Path(folder).mkdir()
    return served.environ(tmp_path / "bus") | folders


def end(server, how):
    """End a server; return when it has ended, with exit code 0 and nothing bad in its log."""
    if how == "EOF":
        server.process.stdin.close()
    else:
        server.process.send_signal(how)
    assert server.process.wait(ENDS_WITHIN_S) == 0, server.said()
    assert "Traceback" not in server.said()


WAYS = {"EOF": "EOF", "SIGINT": signal.SIGINT, "SIGTERM": signal.SIGTERM}
# What ends a session does not know its era: each way in one of them, each era by one at least.
ENDS = pytest.mark.parametrize(
    ("how", "era"), [*zip(WAYS.values(), (*ERAS, MODERN), strict=True)], ids=WAYS
)


@pytest.mark.started
@pytest.mark.promise(43)
@pytest.mark.parametrize("era", ERAS)
def test_a_probe_is_answered_without_a_bus_and_leaves_no_trace(empty, tmp_path, era):
    folder = tmp_path / "folder"
    folder.mkdir()
    with Pipes(empty, cwd=folder) as server:
        hello = server.greet(era)
        assert hello["capabilities"]["tools"] is not None
        tools = server.ask("tools/list", era=era)["result"]["tools"]
        assert len(tools) == 5
        for kind in ("resources", "prompts"):
            assert server.ask(f"{kind}/list", era=era)["result"][kind]
        assert server.ask("resources/templates/list", era=era)["result"]["resourceTemplates"]
        assert server_pids(settings_at(tmp_path / "bus")) == []
        end(server, "EOF")
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == []
    assert not (tmp_path / "bus").exists()


@pytest.mark.started
def test_the_first_tool_call_starts_the_bus_which_outlives_the_session(empty, tmp_path):
    with server_folder(tmp_path / "bus") as settings, Pipes(empty) as server:
        server.call("list_agents")
        running = server_pids(settings)
        assert len(running) == 1
        end(server, "EOF")
        assert server_pids(settings) == running


@pytest.mark.started
@pytest.mark.promise(43)
@pytest.mark.parametrize("era", ERAS)
def test_what_is_printed_during_a_call_does_not_reach_the_protocol(shared, era):
    with Pipes(shared, [sys.executable, "-c", NOISY]) as server:
        server.greet(era)
        # `message`, which `call` reads with, fails on a line that is not JSON-RPC.
        said = json.dumps(server.call("list_agents", era=era))
        end(server, "EOF")
        assert server.rest() == []
        log = server.said()
    assert "NOISE" not in said
    assert [log.count(f"NOISE {one}") for one in ("print", "original", "descriptor", "child")] == [
        1, 1, 1, 1
    ]  # fmt: skip


@pytest.mark.parametrize("era", ERAS)
def test_a_line_that_is_no_message_ends_nothing(empty, era):
    with Pipes(empty) as server:
        server.greet(era)
        server.write("this is no JSON")
        server.write('{"jsonrpc": "2.0"}')
        server.write("")
        assert server.ask("tools/list", era=era)["result"]["tools"]
        end(server, "EOF")


@pytest.mark.started
@pytest.mark.promise(43)
@ENDS
def test_an_idle_server_ends_when_it_is_told_to(empty, era, how):
    with Pipes(empty) as server:
        server.greet(era)
        end(server, how)
        assert server.rest() == []


def test_a_server_whose_host_reads_no_more_ends_with_its_input(empty):
    host = forking.start(
        served.command("coder"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=empty
    )
    with host:
        try:
            listing = {"jsonrpc": "2.0", "method": "tools/list", "params": {}}
            hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": NOBODY}
            first = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}
            asked = [first, *(listing | {"id": number} for number in range(1, 200))]
            host.stdin.write(b"".join(json.dumps(one).encode() + b"\n" for one in asked))
            host.stdin.flush()
            assert host.stdout.readline()  # it answers; from here on nobody reads
            host.stdin.close()
            assert host.wait(ENDS_WITHIN_S) == 0
        finally:
            host.kill()


@pytest.mark.started
def test_a_server_without_any_input_ends_at_once(empty):
    with Pipes(empty) as server:
        server.process.stdin.close()
        assert server.process.wait(served.ANSWER_WITHIN_S) == 0
        assert server.said() == ""


@pytest.mark.promise(43)
@ENDS
def test_a_server_that_waits_for_the_inbox_ends_when_it_is_told_to(shared, era, how):
    with Pipes(shared) as server:
        server.greet(era)
        server.watch(era=era)
        end(server, how)


@pytest.mark.started
@pytest.mark.promise(43)
@pytest.mark.parametrize("waiting", [False, True], ids=["idle", "waiting"])
def test_a_server_ends_with_its_parent_while_another_holds_its_pipes(shared, waiting):
    argv = [sys.executable, "-c", HOST, *served.command("coder")]
    with Pipes(shared, argv) as host, killed_at_the_end(host):
        host.greet(MODERN)
        if waiting:
            host.watch()
        server = int(host.said())
        # The parent goes without a word; the test still holds both ends of the pipes.
        host.process.kill()
        host.process.wait()
        # The end of its output is the end of the server: nobody else is left to write there.
        host.rest(within_s=ENDS_WITHIN_S)
        # Where nobody collects orphans, their exit codes stay as zombies.
        until(lambda: is_gone(server) or _shown(server, "stat")[:1] == "Z", "the server is gone")
        assert "Traceback" not in host.said()


@pytest.mark.promise(43)
def test_a_server_ends_whose_parent_has_ended_before_it_had_begun(shared):
    server = [sys.executable, "-c", SLOW, "serve", "--agent", "coder"]
    with Pipes(shared, [sys.executable, "-c", HASTY, *server]) as host, killed_at_the_end(host):
        host.process.wait()
        # As above, the end of its output is the end of the server.
        host.rest(within_s=ENDS_WITHIN_S)


@contextmanager
def killed_at_the_end(host):
    """Kill the server that a host has started, should it still be there."""
    try:
        yield
    finally:
        first = host.said().partition("\n")[0]
        if first.isdecimal() and "mcp_agentbus" in _shown(int(first), "args"):
            os.kill(int(first), signal.SIGKILL)


def _shown(pid, column):
    argv = ["ps", "-o", f"{column}=", "-p", str(pid)]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


async def sent(world, agent):
    """Have somebody send the agent a task; return its id."""
    [receipt] = await send_task(await world.session("planner"), agent, "s", "b")
    return receipt.task_id


@pytest.mark.parametrize("how", [*WAYS.values()], ids=WAYS)
async def test_what_a_session_held_is_read_by_another_one_right_after_its_end(world, shared, how):
    agent = world.name("worker")
    with Pipes(shared, agent=agent) as server:
        await asyncio.to_thread(server.call, "list_agents")
        task_id = await sent(world, agent)
        read = await asyncio.to_thread(server.call, "read_inbox")
        assert task_id in read["content"][0]["text"]
        async with Session(world.bus, Agent(agent)) as other:
            assert (await inbox.read_inbox(other)).tasks == ()
            await asyncio.to_thread(end, server, how)
            [item] = (await inbox.read_inbox(other)).tasks
            # Nothing was done, so it counts as no attempt.
            assert (item.task.id, item.attempt) == (task_id, 1)


@pytest.mark.promise(11)
@pytest.mark.parametrize(("answers_before", "era"), [*enumerate(ERAS * 2)])
async def test_a_call_that_is_cancelled_while_it_reads_holds_nothing(
    world, shared, era, answers_before
):
    agent = world.name("worker")
    with Pipes(shared, agent=agent) as server:
        await asyncio.to_thread(server.greet, era)
        # With its lanes made before, the call gets soon to what it must undo.
        await asyncio.to_thread(server.call, "read_inbox", era=era)
        task_id = await sent(world, agent)
        call = {"name": "read_inbox", "arguments": {}}
        number = server.request("tools/call", call, era=era)
        seen = []

        async def answered_until_now():
            probe = server.request("tools/list", era=era)
            while (message := await asyncio.to_thread(server.message))["id"] != probe:
                seen.append(message["id"])

        for _ in range(answers_before):  # so long is it let run
            await answered_until_now()
        about = {"requestId": number, "reason": "a test"}
        cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": about}
        server.write(json.dumps(cancelled))
        await answered_until_now()  # so it has read the cancellation
        async with Session(world.bus, Agent(agent)) as other:
            if number in seen:  # it was shown, so it is rightly held, until its session ends
                await asyncio.to_thread(end, server, "EOF")
            found = await inbox.watch_inbox(other, timeout_s=20)
            assert [item.task.id for item in found.tasks] == [task_id]
            assert found.tasks[0].attempt == 1
