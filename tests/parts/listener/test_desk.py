# SPDX-License-Identifier: Apache-2.0
"""When an agent is looked at again whose look has failed, and how a desk goes on that has ended."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from made_cluster import until

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.rules import Rules
from mcp_agentbus.core.aio import failures
from mcp_agentbus.errors import BusUnreachable, NameTaken, NotAllowed
from mcp_agentbus.listener import loop as loops
from mcp_agentbus.listener.desk import Desk
from mcp_agentbus.listener.loop import LOOK_AGAIN_S, Loop
from mcp_agentbus.listener.runner import Runner
from mcp_agentbus.listener.state import State
from mcp_agentbus.store import roster, streams
from mcp_agentbus.store.subjects import AGENTS
from mcp_agentbus.wakes.ledger import Ledger, LedgerBroken


@pytest.fixture
def state(settings, tmp_path):
    """A listener's state, with a bus that is away."""
    ledger = Ledger(tmp_path / "ledger.sqlite3")
    yield State(settings, Bus(settings), ledger, lambda *_: None)
    ledger.close()


@pytest.mark.parametrize("breaks", [None, LedgerBroken("It is full."), OSError(28, "Full")])
@pytest.mark.parametrize(("due_in_s", "pause_s"), [(-1, LOOK_AGAIN_S), (10, 10)])
async def test_a_look_that_fails_at_its_time_is_done_again_after_the_usual_pause(
    state, due_in_s, pause_s, breaks
):
    desk, loop, looked = Desk("coder"), Loop(state, None, None), asyncio.Event()
    desk.look_again_at = datetime.now(UTC) + timedelta(seconds=due_in_s)

    async def opened(_):
        pass

    async def reachable():
        looked.set()
        if breaks:
            raise breaks
        return False

    loop._open, state.reachable = opened, reachable
    keeping = asyncio.ensure_future(loop._keep(desk))
    await looked.wait()
    keeping.cancel()

    assert desk.pause_s(LOOK_AGAIN_S) == pytest.approx(pause_s, abs=1)


async def test_a_listener_takes_over_the_time_zone_that_is_set_while_it_runs(state, monkeypatch):
    loop, looked = Loop(state, None, Runner(state, None, {})), asyncio.Event()

    async def reachable():
        looked.set()
        return False

    state.reachable = reachable
    with monkeypatch.context() as moved:
        moved.setenv("TZ", "XYZ-5")
        running = asyncio.ensure_future(loop.run())
        await looked.wait()
        running.cancel()
        zone = time.localtime().tm_zone
    time.tzset()

    assert zone == "XYZ"


async def test_a_desk_that_has_ended_begins_anew_and_one_that_fails_keeps_no_other_back(
    state_on, monkeypatch
):
    async def reconnected(_):
        return True

    state, begun, told = state_on(SimpleNamespace(reconnected=reconnected)), [], []
    loop, done = Loop(state, None, Runner(state, None, {})), asyncio.Event()

    async def keep(desk):
        begun.append(desk.agent)

    async def publish(desk):
        told.append(desk.agent)
        if told.count("coder") > 1 and told.count("tester") > 1:
            done.set()
        raise KeyError(desk.agent)

    monkeypatch.setattr(roster, "BEAT_S", 0)
    loop._keep, loop._publish_prospects = keep, publish
    for agent in ("coder", "tester"):
        loop.desk(agent)
    running = asyncio.ensure_future(loop.run())
    async with asyncio.timeout(5):
        await asyncio.wait(
            [running, asyncio.ensure_future(done.wait())], return_when="FIRST_COMPLETED"
        )
    running.cancel()

    assert done.is_set()
    assert begun[:2] == ["coder", "tester"]
    assert min(map(begun.count, ("coder", "tester"))) > 1
    assert any("desk of coder: KeyError" in each for each in failures)


@pytest.mark.parametrize(
    ("fails", "noted"),
    [("register_lost", "agents that the roster lost"), ("catch_up", "ends of wakes")],
)
async def test_what_is_seen_to_beside_the_desks_ends_no_listener_by_a_fault(
    state, monkeypatch, fails, noted
):
    runner, done = Runner(state, None, {}), asyncio.Event()
    loop, beats = Loop(state, None, runner), []

    async def reachable():
        beats.append(True)
        if len(beats) > 1:
            done.set()
        return True

    async def broken():
        raise KeyError(fails)

    monkeypatch.setattr(roster, "BEAT_S", 0)
    monkeypatch.setattr(state if fails == "register_lost" else runner, fails, broken)
    state.reachable = reachable
    running = asyncio.ensure_future(loop.run())
    async with asyncio.timeout(5):
        await asyncio.wait(
            [running, asyncio.ensure_future(done.wait())], return_when="FIRST_COMPLETED"
        )
    running.cancel()

    assert done.is_set()
    assert any(f"{noted}: KeyError" in each for each in failures)


async def test_an_agent_of_its_rules_that_the_roster_has_lost_is_registered_anew(
    own_world, tmp_path, monkeypatch
):
    bus, agent = own_world.bus, own_world.name("third")
    rules = {agent: Rules(agent, "claude-code", tmp_path, "hold")}
    ledger, opened = Ledger(tmp_path / "ledger.sqlite3"), asyncio.Event()
    state = State(replace(bus.settings, rules=rules), bus, ledger, lambda *_: opened.set())
    state.watcher.changed = lambda: False
    loop = Loop(state, None, Runner(state, None, {}))

    async def is_there():
        return agent in await roster.registered(bus)

    monkeypatch.setattr(roster, "BEAT_S", 0.01)
    monkeypatch.setattr(loops, "_TIDY_BEATS", 1)
    async with asyncio.timeout(20):
        running = asyncio.ensure_future(loop.run())
        await opened.wait()
        assert await is_there()
        await bus.api(f"STREAM.DELETE.{AGENTS}")
        await streams.ensure_streams(bus)
        await until(is_there)
    running.cancel()
    await loop.end()
    await loop.close()
    ledger.close()


@pytest.mark.parametrize(
    ("fails", "tried"),
    [
        (NotAllowed(), ["coder", "planner", "tester"]),
        (NameTaken(), ["coder", "planner", "tester"]),
        (BusUnreachable(), ["coder"]),
        (TimeoutError(), ["coder"]),
    ],
)
async def test_one_that_cannot_be_registered_keeps_no_other_back_while_there_is_a_bus(
    state, monkeypatch, fails, tried
):
    names, asked = ("coder", "planner", "tester"), []
    rules = {name: Rules(name, "command", Path("/shop"), "work") for name in names}
    state.watcher.settings = replace(state.settings, rules=rules)
    desk = state.desks["tester"] = Desk("tester")

    async def registered(_):
        return frozenset()

    async def register(_, agent, __):
        asked.append(agent.id)
        if agent.id == "coder":
            raise fails
        return frozenset({"review"})

    monkeypatch.setattr(roster, "registered", registered)
    monkeypatch.setattr(roster, "register_granted", register)

    await state.register_lost()

    assert asked == tried
    assert desk.ungranted == ({"review"} if "tester" in tried else frozenset())
