# SPDX-License-Identifier: Apache-2.0
"""No loop spins, and none is held: not while anything goes and comes back, and not at the end."""

import asyncio
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys

import forking
import pytest
import served
from halting import halt
from listeners import configure, known, listening, recorder, send
from local_server import kill_servers
from probed import Probe
from served import Pipes

from mcp_agentbus.bus import embedded
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.listener import status
from mcp_agentbus.relay import local_socket

_HANG_S = 60  # only a hang takes as long
# No work of ours holds a loop for longer, on a machine that does much else besides.
_HELD_MAX_S = 2.0
# What a process may burn that has nothing to do but to see whether the bus is there again.
_IDLE_SHARE = 0.5
_WATCHED_S = 0.6
# A listener that fails at its first look, as by a bug.
_FAILING = """
import sys
from mcp_agentbus.cli import main as cli
from mcp_agentbus.wakes import demand
look = demand.look_for_urgent
async def fail(*_):
    demand.look_for_urgent = look
    raise KeyError("a peer's text")
demand.look_for_urgent = fail
sys.exit(cli.main(["listen"]))
"""


@contextlib.asynccontextmanager
async def following(settings, agent):
    """Run `agentbus watch --follow`; yield its process."""
    process = await forking.Awaited.started(
        [*served.AGENTBUS, "watch", "--follow", "--agent", agent],
        env=served.environ(settings.data_dir.parent), stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        await process.rest()


async def test_a_listener_ends_though_it_follows_an_inbox_and_the_shell_goes_on(planner):
    settings = planner.bus.settings
    await known(planner, "coder")
    async with (
        asyncio.timeout(_HANG_S),
        listening(settings) as listener,
        following(settings, "coder") as follow,
    ):
        assert b"waiting: nothing" in await follow.stdout.readline()
        assert await listener.end() == 0
        assert b"waiting: nothing" in await follow.stdout.readline()
        await send_task(planner, "coder", "Count", "the tests")
        assert b"waiting: 1 normal" in await follow.stdout.readline()


@pytest.mark.skipif(sys.platform != "linux", reason="another process's limits are Linux's to set")
async def test_no_loop_is_held_nor_spins_while_server_socket_and_disk_go_and_come_back(
    planner, tmp_path
):
    settings = planner.bus.settings
    probes = [Probe(tmp_path / name) for name in ("listener", "session")]
    notes = tmp_path / "notes"
    notes.mkdir()
    configure(settings, notes, woken={"command": recorder(notes)})
    environ = served.environ(settings.data_dir.parent)
    async with asyncio.timeout(_HANG_S), contextlib.AsyncExitStack() as stack:
        # Begun before there is a listener, it is served by its own process.
        serve = [sys.executable, *probes[1].script("serve", "--agent", "alone")]
        session = stack.enter_context(Pipes(environ, serve))
        await asyncio.to_thread(session.greet, served.MODERN)
        listener = await stack.enter_async_context(
            listening(settings, script=probes[0].script("listen"))
        )
        relayed = stack.enter_context(Pipes(environ, agent="relayed"))
        await asyncio.to_thread(relayed.greet, served.MODERN)
        for one in (session, relayed):
            await asyncio.to_thread(one.watch)
        follow = await stack.enter_async_context(following(settings, "coder"))
        assert b"waiting: nothing" in await follow.stdout.readline()

        async def nothing_spins():
            shares = await asyncio.gather(
                *(asyncio.to_thread(probe.share, _WATCHED_S) for probe in probes)
            )
            assert max(shares) < _IDLE_SHARE, shares

        await asyncio.to_thread(embedded.stop, settings)
        await listener.logged("away")
        await nothing_spins()
        server = await asyncio.to_thread(embedded.ensure, settings)
        await listener.logged("back")
        halt(server.pid)
        await nothing_spins()
        os.kill(server.pid, signal.SIGCONT)

        socket = settings.runtime_dir / "listener.sock"
        aside = socket.rename(socket.with_suffix(".aside"))
        await nothing_spins()
        aside.rename(socket)

        limits = resource.prlimit(listener.process.pid, resource.RLIMIT_FSIZE, (0, -1))
        await send(planner, "woken")
        await listener.logged("ledger")
        await nothing_spins()
        resource.prlimit(listener.process.pid, resource.RLIMIT_FSIZE, limits)

        await asyncio.to_thread(kill_servers, settings)
        await nothing_spins()
        assert await listener.end() == 0
        assert await asyncio.to_thread(probes[1].share, _WATCHED_S) < _IDLE_SHARE

    assert max(probe.longest_s for probe in probes) < _HELD_MAX_S


async def test_a_desk_that_failed_goes_on_and_the_listener_tells_of_it(planner, tmp_path):
    settings, notes = planner.bus.settings, tmp_path / "notes"
    notes.mkdir()
    configure(settings, notes, woken={"command": recorder(notes)})
    async with asyncio.timeout(_HANG_S), listening(settings, script=["-c", _FAILING]) as listener:
        failed = await listener.logged("failed")
        await send(planner, "woken")
        await listener.logged("read")
        standing = await asyncio.to_thread(local_socket.ask, settings, {"op": "status"})

    assert (failed["what"], failed["error"]) == ("desk of woken failed", "KeyError")
    [failure] = standing["failures"]
    assert failure.startswith("desk of woken: KeyError at mcp_agentbus/")
    assert "desk of woken: KeyError" in status.text(status.seen_from(settings, standing))
    assert "peer" not in json.dumps([failed, standing])
