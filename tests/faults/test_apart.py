# SPDX-License-Identifier: Apache-2.0
"""Sandboxes and containers on one home: nobody is cut off in silence, and nobody's process killed.

What a hint names as the one command is typed here, and does mend it.
"""

import asyncio
import re
import subprocess
import sys
import time

import forking
import pytest
import served
from apart import Sandbox
from listeners import listening
from local_server import kill_servers, server_folder, server_pids

from mcp_agentbus.bus import embedded
from mcp_agentbus.core import locks

# It is half a second on a machine that does nothing else; what waits for a server takes 15.
_WITHIN_S = 5.0
_ENDS_WITHIN_S = 60  # only a hang takes as long
SEND = ("send", "planner", "Count", "x", "--agent", "planner")


@pytest.fixture
def home(tmp_path):
    with server_folder(tmp_path / "bus"):
        yield tmp_path / "bus"


@pytest.fixture
def settings(home):
    with server_folder(home) as settings:
        yield settings


def typed(home, *argv):
    """Type `agentbus ARGV` outside."""
    ended = forking.ran(
        [*served.AGENTBUS, *argv],
        _ENDS_WITHIN_S,
        env=served.environ(home),
        stderr=subprocess.STDOUT,
    )
    return ended.returncode, ended.stdout


def hinted(said):
    """Return the words of the command that a hint names."""
    command = re.search(r"Hint: Run(?:: | `agentbus )([^`,]*)", said)
    return command[1].strip(".\n").split()


def test_a_first_command_in_a_sandbox_without_loopback_leaves_nothing_in_the_way(home, settings):
    with Sandbox(home, "--net", loopback=False) as sandbox:
        code, said = sandbox.typed(*SEND)

        assert (code, server_pids(settings)) == (3, [])
        assert "Nothing was stored. This sandbox has no network, not even loopback" in said
        assert hinted(said) == ["listen"]
        assert typed(home, "inbox", "--agent", "planner")[0] == 0


def test_a_server_that_a_sandbox_has_started_is_told_of_and_stopped_by_the_one_command(home):
    with Sandbox(home, "--net") as sandbox:
        assert sandbox.typed("inbox", "--agent", "planner")[0] == 0
        began = time.monotonic()
        code, said = typed(home, *SEND)
        took = time.monotonic() - began
        status = typed(home, "server", "status")

        assert code == 3
        assert took < _WITHIN_S
        assert "Nothing was stored. The bus server (pid " in said
        assert "runs in another network" in said
        assert (status[0], "runs in another network" in status[1]) == (3, True)
        assert hinted(said) == hinted(status[1]) == ["server", "stop"]
        assert typed(home, *hinted(said))[0] == 0
        assert typed(home, *SEND)[0] == 0
        code, said = sandbox.typed(*SEND)
        assert code == 3
        assert "runs outside this sandbox" in said
        assert hinted(said) == ["listen"]


def test_a_server_in_another_sandbox_is_brought_out_by_the_one_command_and_serves_both(home):
    with Sandbox(home, "--net") as first, Sandbox(home, "--net", loopback=False) as second:
        assert first.typed("inbox", "--agent", "planner")[0] == 0

        code, said = second.typed(*SEND)

        assert code == 3
        assert "in another sandbox than this one: nothing outside reaches it either." in said
        stop, listen = " ".join(hinted(said)).split(" && agentbus ")
        assert typed(home, *stop.split())[0] == 0
        with Sandbox(home, "--mount") as outside:
            assert '"listening"' in outside.ran(*served.AGENTBUS, listen, stays=True)[1]
            assert second.typed(*SEND)[0] == 0
            assert first.typed(*SEND)[0] == 0
            assert typed(home, *SEND)[0] == 0


def test_a_server_of_another_pid_namespace_is_left_alone_and_told_of(home, settings):
    """Its number is somebody else's out here, as its starter's and its own are in there."""
    with Sandbox(home, "--pid") as sandbox:
        assert sandbox.typed("server", "start")[0] == 0
        lock = embedded.Files(settings.data_dir).lock
        noted, running = locks.holder(lock), server_pids(settings)
        assert typed(home, "inbox", "--agent", "planner")[0] == 0  # the network is the same

        code, said = typed(home, "server", "stop")

        assert code == 1
        assert noted.pid not in running
        assert f"runs elsewhere: pid {noted.pid} on host {noted.host} in another pid" in said
        assert "left alone" in said
        assert server_pids(settings) == running
        assert hinted(said) == ["kill", str(running[0])]


def test_a_container_that_shares_a_home_neither_stops_nor_doubles_the_server_of_another(
    home, settings
):
    with Sandbox(home, "--pid", "--net") as one, Sandbox(home, "--pid", "--net") as other:
        assert one.typed("server", "start")[0] == 0
        running = server_pids(settings)

        for argv in (["server", "stop"], SEND):
            code, said = other.typed(*argv)
            assert code in {1, 3}
            assert re.search(r"pid \d+ on host \S+ in another pid namespace .* since 20", said)
        assert server_pids(settings) == running
        assert one.typed("server", "stop") == (0, "stopped; its tasks are kept\n")
        assert other.typed("server", "start")[0] == 0


def test_a_listener_of_another_pid_namespace_is_left_alone_and_told_of(home):
    """It serves both, as they share the folder of its socket."""
    with Sandbox(home, "--pid") as sandbox:
        assert '"listening"' in sandbox.ran(*served.AGENTBUS, "listen", stays=True)[1]

        status = typed(home, "listen", "--status")
        for argv in (["listen", "--stop"], ["listen", "--replace"]):
            code, said = typed(home, *argv)
            assert code == 1
            assert re.search(r"runs elsewhere: pid \d+ on host \S+ in another pid namespace", said)
            assert "left alone" in said
        second = typed(home, "listen")
        assert typed(home, "listen", "--status") == status
        assert (status[0], "in another pid namespace" in status[1]) == (0, True)
        assert (second[0], "runs already" in second[1]) == (0, True)


def test_a_listener_in_a_sandbox_does_not_take_the_seat_of_one_outside(home):
    assert typed(home, "server", "start")[0] == 0
    with Sandbox(home, "--net") as sandbox:
        code, said = sandbox.typed("listen")

    assert code == 3
    assert "runs outside this sandbox" in said
    assert hinted(said) == ["listen"]


async def test_what_is_typed_in_a_sandbox_goes_through_the_listener_outside_and_back(settings):
    """A command that its listener could not carry out, but its own process can, is done there."""
    home = settings.data_dir.parent
    async with listening(settings):
        with Sandbox(home, "--net", loopback=False) as sandbox:
            code, said = await asyncio.to_thread(sandbox.typed, "inbox", "--agent", "planner")
            assert (code, "Inbox of planner" in said) == (0, True), said
        assert embedded.stop(settings)
        with Sandbox(home, "--net") as sandbox:
            assert (await asyncio.to_thread(sandbox.typed, "server", "start"))[0] == 0
            code, said = await asyncio.to_thread(sandbox.typed, *SEND)
            assert code == 0, said
            code, said = await asyncio.to_thread(typed, home, *SEND)
            assert (code, hinted(said)) == (3, ["server", "stop"])
            assert await asyncio.to_thread(embedded.stop, settings)


def test_where_proc_is_of_another_namespace_a_server_is_still_told_from_others(home, settings):
    """As after `unshare --pid` alone."""
    start = "import os, subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
    for how in ("start", "stop"):
        done = subprocess.run(
            ["unshare", "--map-root-user", "--pid", "--fork", sys.executable, "-c", start,
             *served.AGENTBUS, "server", how],
            env=served.environ(home), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0 or "unshare" in done.stderr, done.stderr
    kill_servers(settings)
