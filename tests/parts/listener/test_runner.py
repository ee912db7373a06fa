# SPDX-License-Identifier: Apache-2.0
"""When a wake counts as one that led to a read, and which wakes an earlier listener has left."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mcp_agentbus.config.rules import Limits, Rules
from mcp_agentbus.core import locks, processes
from mcp_agentbus.errors import BusUnreachable, NotAllowed, Refused, StoreFull, TooLarge
from mcp_agentbus.listener.desk import Desk, Notified
from mcp_agentbus.listener.loop import Loop
from mcp_agentbus.listener.runner import Runner
from mcp_agentbus.relay import seat
from mcp_agentbus.wakes.hosts import claude_settings
from mcp_agentbus.wakes.hosts.protocol import WakeOrder
from mcp_agentbus.wakes.ledger import LedgerBroken

KEYS = frozenset({"task coder 7f", "task coder 8a"})
HOUR_S = 3600


@pytest.fixture
def state(settings, tmp_path, state_on):
    """A listener's state without a bus, and with one agent."""
    rules = {"coder": Rules("coder", "claude-code", tmp_path, "answer")}
    return state_on(None, replace(settings, rules=rules))


@pytest.mark.parametrize(
    ("until_s", "waiting", "noted"),
    [
        (None, KEYS, None),  # it is under way
        (None, frozenset(), None),
        (HOUR_S, KEYS, None),  # it may be read yet
        (HOUR_S, {"task coder 7f"}, True),  # one of both was read
        (HOUR_S, frozenset(), True),
        (-1, frozenset(), True),  # late, but read
        (-1, KEYS | {"task coder 9b"}, False),
    ],
)
async def test_a_wake_has_led_to_a_read_once_something_it_told_of_waits_no_more(
    state, events, until_s, waiting, noted
):
    desk, runner = Desk("coder"), Runner(state, None, {})
    wake = state.ledger.note("coder", "start", keys=KEYS, senders=(), at=datetime.now(UTC))
    until = None if until_s is None else time.monotonic() + until_s
    desk.notified[wake] = Notified(KEYS, until)

    runner.note_reads(desk, waiting)

    [row] = state.ledger.latest("coder")
    assert row.led_to_read is noted
    assert events == {None: [], True: ["read"], False: ["unread"]}[noted]
    assert (wake in desk.notified) == (noted is None)


def test_the_wakes_of_a_listener_that_was_killed_have_ended_with_it(state, events):
    state.ledger.note("coder", "start", keys=KEYS, senders=(), at=datetime.now(UTC))

    running = Runner(state, None, {}).left_running()

    [row] = state.ledger.latest("coder")
    assert running == []
    assert (row.outcome, row.interrupted) == ("stopped", True)
    assert events == ["adopted"]


@pytest.mark.parametrize("is_there", [True, False])
def test_the_wakes_of_another_containers_listener_are_its_own_while_it_lives(state, is_there):
    """Its processes have numbers that mean nothing here."""
    theirs = "4711 another-boot pid:[1]"
    wake = state.ledger.note("coder", "start", keys=KEYS, senders=(), at=datetime.now(UTC))
    state.ledger.started(wake, os.getpid(), theirs)
    lock = seat.seat_lock(state.settings, theirs.partition(" ")[2])

    with locks.held(lock, wait=False) if is_there else contextlib.nullcontext():
        assert Runner(state, None, {}).left_running() == []

    [row] = state.ledger.latest("coder")
    assert row.outcome == ("" if is_there else "stopped")


@pytest.mark.parametrize(
    "mark",
    [processes.known(os.getpid()).mark, processes.born(os.getpid())],
    ids=["its mark", "an earlier versions"],
)
def test_a_process_that_outlives_its_listener_is_known_by_its_mark_or_an_earlier_versions(
    state, mark
):
    wake = state.ledger.note("coder", "start", keys=KEYS, senders=(), at=datetime.now(UTC))
    state.ledger.started(wake, os.getpid(), mark)

    assert [row.id for row in Runner(state, None, {}).left_running()] == [wake]


def written(state, agent):
    """Write the settings of an agent's run; return their file."""
    rules = replace(state.settings.rules["coder"], agent=agent)
    return claude_settings.write(WakeOrder(rules, None, state.settings.environ, lambda _: None))


def gone(state, wake):
    state.ledger.started(wake, os.getpid(), "another's")


def runs(state, wake):
    state.ledger.started(wake, os.getpid(), processes.known(os.getpid()).mark)


def left_alone(state, wake):
    runs(state, wake)
    state.ledger.ended(wake, at=datetime.now(UTC), outcome="stopped", said="", interrupted=True)


@pytest.mark.parametrize("agent", ["coder", "removed"])
@pytest.mark.parametrize(
    ("became", "stays"),
    [(lambda *_: None, False), (gone, False), (runs, True), (left_alone, True)],
    ids=["killed before it was known", "gone", "runs", "left alone"],
)
def test_the_settings_of_a_run_whose_end_no_listener_saw_are_removed_by_the_next_one(
    state, agent, became, stays
):
    file = written(state, agent)
    wake = state.ledger.note(agent, "start", keys=KEYS, senders=(), at=datetime.now(UTC))
    became(state, wake)

    Runner(state, None, {}).left_running()

    assert file.exists() is stays


def started():
    return subprocess.Popen(["cat"], stdin=subprocess.PIPE, start_new_session=True)


@pytest.mark.parametrize(
    ("since_s", "limit_s", "ends"),
    [
        (0, 1, True),
        (HOUR_S, 1, True),  # it was over before this listener began
        (-HOUR_S, 1, True),  # the clock was set back: it may run for no longer
        (HOUR_S, HOUR_S + 60, False),
    ],
)
async def test_what_a_killed_listener_has_started_ends_at_its_limit(state, since_s, limit_s, ends):
    at = datetime.now(UTC) - timedelta(seconds=since_s)
    rules = state.settings.rules
    rules["coder"] = replace(rules["coder"], limits=Limits(time_limit_s=limit_s))
    wake = state.ledger.note("coder", "start", keys=KEYS, senders=(), at=at)
    with started() as process:
        state.ledger.started(wake, process.pid, processes.known(process.pid).mark)
        desk, runner = Desk("coder"), Runner(state, None, {})
        runner.watch(desk, *runner.left_running())
        if ends:
            await desk.changed.wait()
        else:
            await asyncio.wait({desk.running}, timeout=0.2)
            process.kill()
            await desk.changed.wait()

    [row] = state.ledger.latest("coder")
    assert row.outcome == ("timed_out" if ends else "stopped")
    assert process.returncode == (-signal.SIGTERM if ends else -signal.SIGKILL)


@pytest.mark.parametrize("on_stop", ["end", "leave", ""])
async def test_a_listener_that_is_stopped_ends_what_an_earlier_one_has_started(state, on_stop):
    """Unless its user says otherwise: then the next listener takes it over in its turn."""
    rules = state.settings.rules
    if on_stop:
        rules["coder"] = replace(rules["coder"], on_stop=on_stop)
    else:  # its agent was removed meanwhile
        del rules["coder"]
    wake = state.ledger.note("coder", "start", keys=KEYS, senders=(), at=datetime.now(UTC))
    with started() as process:
        state.ledger.started(wake, process.pid, processes.known(process.pid).mark)
        loop = Loop(state, None, Runner(state, None, {}))
        desk = state.desks["coder"] = Desk("coder")
        loop._runner.watch(desk, *loop._runner.left_running())
        await asyncio.wait({desk.running}, timeout=0.01)
        async with asyncio.timeout(10):
            await loop.end()
        ended = process.poll()
        process.kill()

    [row] = state.ledger.latest("coder")
    is_left = on_stop == "leave"
    assert ended == (None if is_left else -signal.SIGTERM)
    assert (row.outcome, row.interrupted) == (("", False) if is_left else ("stopped", True))


async def test_what_a_killed_listener_has_started_and_nobody_may_end_is_told_so(state, not_ours):
    at = datetime.now(UTC) - timedelta(days=1)
    wake = state.ledger.note("coder", "start", keys=KEYS, senders=(), at=at)
    with started() as process:
        state.ledger.started(wake, process.pid, processes.known(process.pid).mark)
        desk, runner = Desk("coder"), Runner(state, None, {})
        runner.watch(desk, *runner.left_running())
        await desk.changed.wait()

    [row] = state.ledger.latest("coder")
    assert row.said.endswith(f"could not be ended (is it another user's?): pid {not_ours[0]}")


async def test_the_settings_of_a_run_go_once_it_ends_after_its_listener(state):
    file = written(state, "coder")
    wake = state.ledger.note("coder", "start", keys=KEYS, senders=(), at=datetime.now(UTC))
    process = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE)
    state.ledger.started(wake, process.pid, processes.known(process.pid).mark)
    desk, runner = Desk("coder"), Runner(state, None, {})
    [row] = runner.left_running()
    runner.watch(desk, row)
    assert file.exists()

    await process.communicate(b"")
    await desk.changed.wait()

    assert not file.exists()


async def test_ends_that_a_broken_ledger_did_not_tell_are_written_once_it_is_mended(
    state, monkeypatch
):
    wake = state.ledger.note("coder", "start", keys=(), senders=(), at=datetime.now(UTC))
    state.ledger.ended(wake, at=datetime.now(UTC), outcome="exited", said="exit code 0")
    runner = Runner(state, None, {})

    def broken(*_):
        raise LedgerBroken("It is full.")

    with monkeypatch.context() as patch:
        patch.setattr(state.ledger, "ends_unwritten", broken)
        await runner.catch_up()
    await runner.catch_up()

    assert state.ledger.ends_unwritten() == []


class Refusing:
    """A bus that refuses whatever is about one of the tasks, and keeps nothing of the others."""

    def __init__(self, error):
        self.error = error
        self.asked = []

    async def many(self, _stream, request):
        self.asked += request["multi_last"]
        if any("refused" in subject for subject in request["multi_last"]):
            raise self.error
        return []


@pytest.fixture
def refusing(settings, state_on):
    """Gives a listener's state on a bus that raises an error of one task, and that bus."""

    def made(error):
        bus = Refusing(error)
        return state_on(bus, settings), bus

    return made


def has_ended(state, *keys):
    """Note that a wake for tasks has ended."""
    now = datetime.now(UTC)
    wake = state.ledger.note("coder", "start", keys=keys, senders=(), at=now)
    state.ledger.ended(wake, at=now, outcome="exited", said="exit code 0")


@pytest.mark.parametrize(
    ("error", "for_s", "left"),
    [
        (Refused("Not now."), 0, ["refused"]),
        (Refused("Not now."), HOUR_S, []),
        (NotAllowed(), 0, ["refused"]),
        (NotAllowed(), HOUR_S, []),
        (TooLarge(), 0, []),
        (StoreFull(), HOUR_S, ["refused", "7f"]),  # nothing else would be taken either
        (BusUnreachable(), HOUR_S, ["refused", "7f"]),
    ],
)
async def test_an_end_that_is_refused_keeps_no_other_from_being_written_and_is_not_tried_for_ever(
    refusing, monkeypatch, error, for_s, left
):
    state, _ = refusing(error)
    for task in ("refused", "7f"):
        has_ended(state, f"task coder {task}")
    runner = Runner(state, None, {})
    await runner.catch_up()
    later = time.monotonic() + for_s

    monkeypatch.setattr(time, "monotonic", lambda: later)
    await runner.catch_up()

    keys = [f"task coder {task}" for task in left]
    assert [next(iter(row.keys)) for row in state.ledger.ends_unwritten()] == keys


async def test_of_a_wake_whose_end_is_refused_for_one_task_it_is_written_for_the_others(refusing):
    state, bus = refusing(NotAllowed())
    keys = {f"task coder {n}" for n in ("refused", *range(60))}
    has_ended(state, *keys)

    await Runner(state, None, {}).catch_up()

    assert len({subject.rsplit(".", 1)[1] for subject in bus.asked}) == len(keys)
