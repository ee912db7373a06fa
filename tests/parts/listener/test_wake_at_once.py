# SPDX-License-Identifier: Apache-2.0
"""A host is started for what may wake its agent, and the numbers of its notice are counted then."""

import os
import threading
from dataclasses import replace

import pytest

from mcp_agentbus.config.rules import Rules
from mcp_agentbus.errors import BusUnreachable
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.listener.desk import Desk
from mcp_agentbus.listener.loop import Loop
from mcp_agentbus.listener.runner import Runner
from mcp_agentbus.listener.state import State
from mcp_agentbus.wakes.hosts import registry
from mcp_agentbus.wakes.hosts.protocol import Ended
from mcp_agentbus.wakes.ledger import Ledger


class Host:
    """Where an agent is started: what happened in which order, and what it was told."""

    def __init__(self):
        self.order, self.told, self.wakes = [], "", []

    async def wake(self, call):
        self.order.append("started")
        call.started(os.getpid())
        self.told = await call.notice()
        return Ended("exited", "exit code 0 after 0 s", exit_code=0)


@pytest.fixture
async def woken(request, own_world, tmp_path):
    """Send an agent two normal tasks, then one of some priority; have its listener look at it."""
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    agent, host = coder.me.id, Host()
    await coder.close()  # else its session would be told
    ledger = Ledger(tmp_path / "ledger.sqlite3")
    named = getattr(request, "param", "command")
    rules = {agent: Rules(agent, named, tmp_path, "answer")}
    settings = replace(own_world.bus.settings, rules=rules)
    state = State(settings, own_world.bus, ledger, lambda *_: None)
    counted = state.look

    async def look(priority, count=counted):
        async def counting(whose):
            host.order.append("counted")
            return await count(whose)

        state.look = counting
        for each in ("normal", "normal", priority):
            await send_task(planner, agent, "Count", "x", priority=each)
        desk = Desk(agent)
        await Loop(state, None, Runner(state, None, {named: host.wake})).look(desk)
        if desk.running:
            await desk.running
        host.wakes = ledger.latest(agent)
        return host

    yield look
    ledger.close()


async def test_an_urgent_task_starts_its_agent_before_anything_else_is_counted(woken):
    host = await woken("high")

    assert host.order[:2] == ["started", "counted"]
    assert host.told.startswith("3 tasks wait in your agentbus inbox, 1 of them high priority.")


@pytest.mark.parametrize(
    ("woken", "usd"), [("claude-code", 1.0), ("command", 0.0)], indirect=["woken"]
)
async def test_what_a_start_counts_for_that_says_no_cost_is_noted_by_the_host_that_is_started(
    woken, usd
):
    host = await woken("high")

    assert [wake.usd_counted for wake in host.wakes] == [usd]


async def test_what_a_host_inherits_is_found_out_where_nobody_has_to_wait_for_it(
    woken, monkeypatch
):
    """It looks at each folder of PATH, and the file system of one may have gone away."""
    threads, environ = [], registry.environ

    def looked(*given):
        threads.append(threading.current_thread())
        return environ(*given)

    monkeypatch.setattr(registry, "environ", looked)
    await woken("high")

    assert threads not in ([], [threading.main_thread()])


async def test_where_the_rest_cannot_be_counted_a_host_is_told_what_it_was_started_for(woken):
    async def fails(_):
        raise BusUnreachable

    host = await woken("high", count=fails)

    assert host.told.startswith("1 task waits in your agentbus inbox, it is high priority.")


async def test_what_wakes_nobody_is_counted_all_the_same(woken):
    host = await woken("normal")

    assert host.order == ["counted"]
