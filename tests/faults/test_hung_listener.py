# SPDX-License-Identifier: Apache-2.0
"""A listener that hangs: commands go on without it, nothing is done twice, and it can be ended."""

import asyncio
import json
import os
import signal
import socket
import sys

import pytest
import served
from halting import halt, halted
from listeners import busy, commands, listening

from mcp_agentbus import errors
from mcp_agentbus.core import locks
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.relay import local_socket
from mcp_agentbus.relay.carried import words
from mcp_agentbus.version import __version__

# `agentbus`, with less patience.
_HASTY = served.changed(
    "listener.daemon._STOP_TIMEOUT_S = 0.3",
    "relay.carried.command._SILENT_S = 0.3",
    "relay.local_socket.ASK_TIMEOUT_S = 0.3",
)
# `agentbus listen` that does not end when it is told to.
_STUCK = (
    "import signal, sys; from mcp_agentbus.cli import main as cli; "
    "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}); sys.exit(cli.main(['listen']))"
)
_WITHIN_S = 60  # only a hang takes as long


def typed(settings, *argv):
    """Type `agentbus ARGV` hastily."""
    return served.typed(settings.data_dir.parent, *argv, program=[sys.executable, *_HASTY])


def asked(settings, *argv):
    """Return what the process of a command sends to the listener."""
    sent = words.variables(served.environ(settings.data_dir.parent))
    return words.request(__version__, words.Typed(argv, "/", sent).pack())


async def stored(planner):
    return len((await read_inbox(planner)).tasks)


async def test_a_command_is_carried_out_without_it_and_once(planner):
    settings = planner.bus.settings
    async with listening(settings) as listener:
        with halted(listener.process.pid):
            sent = await typed(settings, "send", "planner", "Count", "x", "--agent", "coder")
        # It has read what was asked meanwhile, for it answers in turn.
        assert await asyncio.to_thread(commands, settings) == 0

    assert sent[0] == 0
    assert "stored as task" in sent[1]
    assert await stored(planner) == 1


async def test_what_was_asked_by_one_that_has_gone_is_not_done(planner):
    settings = planner.bus.settings
    async with listening(settings) as listener:
        with halted(listener.process.pid), local_socket.connect(settings) as connection:
            connection.sendall(asked(settings, "send", "planner", "Count", "x", "--agent", "coder"))
        assert await asyncio.to_thread(commands, settings) == 0

    assert await stored(planner) == 0


async def test_results_that_one_did_not_wait_for_are_shown_to_the_next(planner):
    settings = planner.bus.settings
    async with listening(settings):
        await typed(settings, "send", "planner", "Count", "x", "--agent", "coder")
        [item] = (await read_inbox(planner)).tasks
        await publish_result(planner, item.task.id, "completed", summary="214 tests")
        with local_socket.connect(settings) as connection:
            connection.sendall(asked(settings, "inbox", "--agent", "coder"))
            assert connection.recv(1024) == words.frame("taken")
            connection.sendall(words.frame("go"))
            said = b""
            while b"reached" not in said:
                said += connection.recv(65536)
        _, shown = await typed(settings, "inbox", "--agent", "coder")
        _, again = await typed(settings, "inbox", "--agent", "coder")

    assert b"214 tests" in said
    assert "214 tests" in shown
    assert "214 tests" not in again


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (("watch", "--timeout", "600"), "look what was done before you repeat it"),
        (("send", "planner", "Count", "x", "--wait", "600"), "the same with --request-id cli-"),
    ],
)
async def test_of_a_command_that_it_has_begun_nobody_knows_whether_it_was_done(planner, argv, hint):
    settings = planner.bus.settings
    async with listening(settings) as listener:
        waits = asyncio.create_task(typed(settings, *argv, "--agent", "coder"))
        await asyncio.to_thread(busy, settings)
        with halted(listener.process.pid):
            code, said = await waits

    assert code == 5
    assert "The listener hangs: it is not known whether this was done." in said
    assert hint in said


async def test_a_command_that_waits_long_is_not_taken_for_one_that_hangs(planner):
    settings = planner.bus.settings
    async with listening(settings):
        code, said = await typed(settings, "watch", "--timeout", "1", "--agent", "coder")

    assert code == 4, said


async def test_it_is_replaced(planner):
    settings = planner.bus.settings
    async with listening(settings) as hung:
        halt(hung.process.pid)
        async with listening(settings, script=[*_HASTY, "listen", "--replace"]) as listener:
            found = await asyncio.to_thread(local_socket.ask, settings, {"op": "status"})
            ended = await hung.process.wait()

    assert found["pid"] == listener.process.pid
    assert ended in {0, -signal.SIGKILL}  # told to go on, it may end by itself in that time


async def test_it_is_stopped(planner):
    settings = planner.bus.settings
    async with listening(settings, script=["-c", _STUCK]) as hung:
        assert await typed(settings, "listen", "--stop") == (0, "The listener has stopped.\n")
        assert await hung.process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("how", ["--stop", "--replace", "--status"])
async def test_one_that_takes_no_connection_is_told_of_by_its_lock(planner, how):
    settings = planner.bus.settings
    lock = settings.runtime_dir / "listener.lock"
    with locks.held(lock, wait=False):
        code, said = await typed(settings, "listen", how)

    assert code == 1
    assert ("listener silent\n" in said) == (how == "--status")
    assert "takes no connection" in said
    assert f"fuser {lock}" in said


async def test_where_none_runs_there_is_none_to_stop_or_to_look_at(planner):
    code, said = await typed(planner.bus.settings, "listen", "--stop")
    looked, shown = await typed(planner.bus.settings, "listen", "--status")
    _, data = await typed(planner.bus.settings, "listen", "--status", "--json")

    assert (code, looked) == (1, 1)
    assert "No listener runs" in said
    assert shown.startswith("listener stopped\n")
    assert "No listener runs" in shown
    assert json.loads(data)["state"] == "stopped"
    assert json.loads(data)["error"]["hint"]


def test_one_that_lets_nobody_in_any_more_hangs_too(tmp_path):
    place = type("Place", (), {"runtime_dir": tmp_path, "environ": os.environ})
    with socket.socket(socket.AF_UNIX) as hung, socket.socket(socket.AF_UNIX) as first:
        hung.bind(local_socket.socket_path(place))
        hung.listen(0)
        first.connect(local_socket.socket_path(place))
        with pytest.raises(errors.NoListener, match="does not answer"):
            local_socket.ask(place, {"op": "status"})
