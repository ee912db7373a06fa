# SPDX-License-Identifier: Apache-2.0
"""How long the outbox waits between two tries, and what it says meanwhile."""

from __future__ import annotations

import asyncio
import errno

import pytest
from planners_task import TASK

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import StoreFull
from mcp_agentbus.listener.outbox import forwarder
from mcp_agentbus.listener.outbox.forwarder import pause_s
from mcp_agentbus.listener.status import outbox_data, outbox_line
from mcp_agentbus.store.outbox.letter import Home, Letter
from mcp_agentbus.store.outbox.outbox import Envelope


@pytest.mark.parametrize("tries", [1, 3, 5, 2_000, 10**9])
def test_what_the_bus_holds_back_is_tried_ever_more_seldom_but_each_half_minute(tries):
    assert pause_s(tries, is_there=True) == min(30, 2 ** min(tries, 9))


@pytest.mark.parametrize("tries", [1, 3, 2_000, 10**9])
def test_a_bus_that_is_away_is_looked_for_every_two_seconds_at_least(tries):
    assert pause_s(tries, is_there=False) == (0.3, 0.6, 1.2, 2)[min(tries, 3)]


async def test_once_the_bus_is_there_it_is_not_said_to_be_away_while_what_waits_is_handed_on(
    monkeypatch,
):
    outbox, said = Outbox({"": "No server answers.", "lead": "It is barred."}), []

    async def nothing(*_):
        said.append(dict(outbox.says))

    monkeypatch.setattr(forwarder.streams, "ensure_streams", nothing)
    monkeypatch.setattr(forwarder, "be_known", nothing)
    monkeypatch.setattr(forwarder, "hand_on", nothing)
    await forwarder.Forwarder(Bus(), outbox, [].append)._pass()

    assert said == [{"lead": "It is barred."}] * 3
    assert outbox.says == {}


async def test_what_fails_pass_by_pass_for_one_reason_is_told_once_until_it_has_ended(monkeypatch):
    outbox, told, fails = Outbox({}), [], [*[StoreFull()] * 5, None, StoreFull()]

    async def ensure(_):
        if error := fails.pop(0):
            raise error

    async def nothing(*_):
        """Have it be at the bus."""

    monkeypatch.setattr(forwarder.streams, "ensure_streams", ensure)
    monkeypatch.setattr(forwarder, "be_known", nothing)
    monkeypatch.setattr(forwarder, "hand_on", nothing)
    forwards = forwarder.Forwarder(Bus(), outbox, told.append)
    for _ in range(5):
        await forwards._pass()
        assert outbox.says == {"": "The bus has no room left."}
    for _ in range(2):
        await forwards._pass()

    failed = {"error": "The bus has no room left."}
    assert told == [failed, {"handed_on": 1}, failed]


async def test_a_rest_that_fails_ends_no_forwarder_and_what_comes_later_is_handed_on(monkeypatch):
    outbox, passed, told = Outbox({}), asyncio.Event(), []
    outbox.may_hold_ours = False

    async def rest():
        outbox.may_hold_ours = True
        raise OSError(errno.EMFILE, "Too many open files")

    async def hand_on(_):
        told.append(dict(outbox.says))
        passed.set()

    monkeypatch.setattr(forwarder, "IDLE_S", 0)
    monkeypatch.setattr(forwarder, "pause_s", lambda *_, **__: 0)
    monkeypatch.setattr(outbox, "rest", rest, raising=False)
    forwards = forwarder.Forwarder(Bus(), outbox, [].append)
    monkeypatch.setattr(forwards, "_pass", lambda: hand_on(outbox))
    running = asyncio.create_task(forwards.run())
    async with asyncio.timeout(30):  # only a failure takes as long
        await asyncio.wait(
            {running, asyncio.create_task(passed.wait())}, return_when=asyncio.FIRST_COMPLETED
        )
    running.cancel()

    assert told[0] == {"all senders": forwarder._FAILED}
    assert "which is a bug" in outbox_line(outbox_data(await outbox.waits(), told[0]))


async def test_what_it_was_told_before_it_failed_is_no_reason_to_try_again_at_once(monkeypatch):
    outbox, rounds, paused = Outbox({}), [], asyncio.Event()

    async def fails():
        rounds.append(len(rounds))
        raise PermissionError(errno.EACCES, "Permission denied")

    def pause_s(*_, **__):
        paused.set()
        return 30  # only a failure takes as long

    outbox.filled.set()
    Bus.opened.set()
    forwards = forwarder.Forwarder(Bus(), outbox, [].append)
    monkeypatch.setattr(forwards, "_until_needed", fails)
    monkeypatch.setattr(forwarder, "pause_s", pause_s)
    running = asyncio.create_task(forwards.run())
    await paused.wait()
    for _ in range(50):
        await asyncio.wait([running], timeout=0)
    running.cancel()

    assert rounds == [0]


class Bus:
    """A bus that is there."""

    opened, is_locked_out = asyncio.Event(), False

    async def reconnected(self, _):
        return True

    async def let_go_if_silent(self, _):
        """It answers."""


class Outbox:
    """One letter, and why it is not at the bus."""

    def __init__(self, says):
        self.says, self.filled, self.turn = says, asyncio.Event(), asyncio.Lock()

    async def waits(self):
        return (Envelope(TASK, 1, TASK.created_at, is_ours=True),)

    async def still(self, waits):
        return waits

    async def read(self, _):
        return Letter(TASK, Agent("planner"), Home((), ""))

    async def take_out(self, _):
        """Forget it."""
