# SPDX-License-Identifier: Apache-2.0
"""How a listener ends: its sessions are left to their own processes, whatever the server does."""

import asyncio
import contextlib
import os
import signal
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
import threadless
from local_server import kill_servers

from mcp_agentbus.bus import embedded
from mcp_agentbus.listener import daemon, endpoint, loop
from mcp_agentbus.listener.desk import Desk
from mcp_agentbus.listener.state import State
from mcp_agentbus.relay import local_socket
from mcp_agentbus.relay.member import AGAIN_S
from mcp_agentbus.wakes.ledger import Ledger

JOIN = {"op": "join", "agent": "coder", "host": "cursor", "session": "1f0c"}
HANG_S = 30  # only a hang takes as long


class Away:
    """A bus without a server."""

    def __init__(self, settings):
        self.settings = settings

    async def reconnected(self, within_s):
        if within_s:
            await asyncio.Event().wait()
        return False


@pytest.fixture
def state(settings, tmp_path):
    """The state of a listener without a server."""
    with contextlib.closing(Ledger(tmp_path / "ledger.sqlite3")) as ledger:
        yield State(settings, Away(settings), ledger, lambda *_: None)


async def test_a_listener_that_ends_leaves_its_sessions_before_it_speaks_to_the_server(
    state, settings, monkeypatch
):
    hangs = asyncio.Event()
    desk = state.desks["coder"] = Desk("coder")
    desk.subscriptions.push_async_callback(hangs.wait)
    monkeypatch.setattr(daemon, "_LOOK_AT_DOOR_S", 0)
    parts = daemon._parts(state, None)
    await parts.door.open()
    running = asyncio.create_task(daemon._run(state, parts, ()))
    keeping = asyncio.create_task(daemon._keep_open(state, parts.door))
    reader, writer = await asyncio.open_unix_connection(local_socket.socket_path(settings))
    writer.write(local_socket.line(JOIN))
    assert "joined" in local_socket.message(await reader.readline())

    running.cancel()

    async with asyncio.timeout(HANG_S):
        assert await reader.read() == b""
        await keeping  # it makes no socket anew for a listener that ends
        assert not (settings.runtime_dir / "listener.sock").exists()
        hangs.set()
        await asyncio.wait([running])
    assert running.cancelled()
    writer.close()


@pytest.mark.parametrize("tries", range(9))
def test_who_lost_a_deaf_listener_has_tried_it_again_before_another_is_started(state, tries):
    """After so many tries in vain, the last of them just before it was heard again."""
    steps = [*AGAIN_S, *[AGAIN_S[-1]] * 9]
    state.became_heard(sum(steps[:tries]))

    assert state.unsure_s("coder") > steps[tries]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_that_would_kill_a_listener_ends_it_instead(state, number):
    """One that was killed leaves what it has started without a time limit."""
    before = signal.signal(number, lambda *_: None)
    try:
        running = asyncio.ensure_future(asyncio.Event().wait())
        daemon._end_when_told(running)
        os.kill(os.getpid(), number)
        async with asyncio.timeout(HANG_S):
            await asyncio.wait([running])
        assert running.cancelled()
    finally:
        asyncio.get_running_loop().remove_signal_handler(number)
        signal.signal(number, before)


async def test_a_part_that_puts_away_what_it_has_is_not_cut_off_when_the_rest_has_ended():
    begun, may_end, put_away = asyncio.Event(), asyncio.Event(), []

    async def works():
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            await may_end.wait()
            put_away.append("all")

    part = asyncio.ensure_future(works())
    await begun.wait()
    for _ in range(2):
        daemon._end(part)
        await asyncio.wait([part], timeout=0)
    may_end.set()
    await asyncio.wait([part])

    assert put_away == ["all"]


@pytest.mark.parametrize(("children_s", "sessions_s"), [(0, 9), (7, 2)])
async def test_whatever_hangs_at_its_end_it_is_gone_before_anybody_kills_it(
    state, monkeypatch, children_s, sessions_s
):
    parts, clock, left = daemon._parts(state, None), iter([0.0, children_s]), []
    beside, begun = asyncio.ensure_future(asyncio.Event().wait()), asyncio.Event()

    async def run():
        begun.set()
        await asyncio.Event().wait()

    async def ended():
        assert beside.cancelling()  # while the children end, and not after them

    async def leave(within_s):
        left.append(within_s)

    monkeypatch.setattr(daemon, "time", SimpleNamespace(monotonic=clock.__next__))
    parts.loop.run, parts.loop.end, parts.relayed.leave = run, ended, leave
    running = asyncio.create_task(daemon._run(state, parts, [beside]))
    await begun.wait()
    running.cancel()
    await asyncio.wait([running, beside])

    assert left == [sessions_s]
    ends_s = children_s + sessions_s + 2 * endpoint._CLOSE_TIMEOUT_S + daemon._BUS_S
    assert ends_s < daemon._STOP_TIMEOUT_S


async def test_a_server_that_ended_by_itself_is_started_again_and_what_waits_is_looked_at(
    state, settings, monkeypatch
):
    monkeypatch.setattr(embedded.reach, "is_isolated", lambda: False)
    embedded.ensure(settings)
    kill_servers(settings)
    desk = state.desks["coder"] = Desk("coder")

    reviving = asyncio.create_task(daemon._revive(state))
    async with asyncio.timeout(HANG_S):
        await desk.changed.wait()
    reviving.cancel()

    assert embedded.find(settings)


async def test_why_a_server_was_not_started_again_stands_in_the_status(state):
    said = []
    state.away_since, state.revival.says = datetime.now(UTC), "It was started again in vain."
    parts = daemon._parts(state, None)

    await parts.endpoint._handlers["status"](
        SimpleNamespace(request={"count": False}, say=said.append)
    )

    assert said[0]["away_says"] == "It was started again in vain."


async def test_a_round_that_fails_by_what_nobody_has_foreseen_ends_no_listener(
    state, monkeypatch, caplog
):
    failing, goes_on = [RuntimeError("can't start new thread")], asyncio.Event()

    async def reachable():
        if failing:
            raise failing.pop()
        goes_on.set()
        return False

    monkeypatch.setattr(loop.roster, "BEAT_S", 0)
    monkeypatch.setattr(state, "reachable", reachable)
    running = asyncio.create_task(daemon._parts(state, None).loop.run())
    async with asyncio.timeout(HANG_S):
        await asyncio.wait(
            {running, asyncio.create_task(goes_on.wait())}, return_when="FIRST_COMPLETED"
        )

    assert not running.done()
    assert [record.getMessage() for record in caplog.records] == ["round failed"]
    running.cancel()


async def test_the_watchdog_is_fed_though_no_thread_is_to_be_had(state, monkeypatch):
    fed, running = asyncio.Queue(), asyncio.get_running_loop().create_future()
    monkeypatch.setattr(daemon, "_PAUSE_S", 0)
    monkeypatch.setattr(daemon, "_notify", fed.put_nowait)
    threadless.for_tries(monkeypatch, 1)
    state.away_since = datetime.now(UTC)
    watching = asyncio.create_task(daemon._watch(state, running, while_needed=False))

    async with asyncio.timeout(HANG_S):
        assert [await fed.get() for _ in range(2)] == ["WATCHDOG=1"] * 2

    running.cancel()
    await watching


async def test_one_that_nobody_needs_ends_also_where_another_bus_has_left_something(
    state, monkeypatch
):
    looks = asyncio.Queue()
    monkeypatch.setattr(daemon, "_PAUSE_S", 0)
    monkeypatch.setattr(daemon, "_UNNEEDED_S", -1)
    monkeypatch.setattr(daemon, "_notify", looks.put_nowait)
    state.outbox = SimpleNamespace(may_hold=True, may_hold_ours=True)
    running = asyncio.create_task(asyncio.Event().wait())
    watching = asyncio.create_task(daemon._watch(state, running, while_needed=True))
    async with asyncio.timeout(HANG_S):
        for _ in range(2):
            await looks.get()
        assert not running.cancelling()

        state.outbox.may_hold_ours = False
        await watching
    assert running.cancelled()
