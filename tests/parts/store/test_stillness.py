# SPDX-License-Identifier: Apache-2.0
"""An agent for which nothing can have come is not asked for, however often it is looked."""

from types import SimpleNamespace

import pytest

from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store.queries import consumers
from mcp_agentbus.store.upkeep import deadlines, stillness, unkept
from mcp_agentbus.store.upkeep.deadlines import Deadlines
from mcp_agentbus.store.upkeep.stillness import Stillness


@pytest.fixture
def looks(own_world, monkeypatch):
    """Look so many times, minutes apart, as a listener does; return at which looks it asks."""
    clock, asked, pull = [0.0], [], deadlines.pulls.pull
    it = Deadlines(own_world.bus)

    async def pulled(bus, consumer, batch):
        asked.append(clock[0])
        return await pull(bus, consumer, batch)

    async def look(agent, times, apart_s=60):
        answers = []
        for _ in range(times):
            clock[0] += apart_s
            await it.look([agent])
            answers.append(clock[0] in asked)
        return answers

    for module in (deadlines, stillness):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(deadlines, "pulls", SimpleNamespace(pull=pulled))
    return look


async def test_who_has_sent_nothing_is_asked_for_until_that_is_settled(own_world, looks):
    planner = await own_world.session("planner")

    assert await looks(planner.me.id, 4) == [True, True, False, False]


async def test_who_has_sent_nothing_is_asked_for_now_and_then_so_that_its_consumer_stays(
    own_world, looks
):
    planner = await own_world.session("planner")
    await looks(planner.me.id, 3)

    assert any(await looks(planner.me.id, 3, apart_s=consumers.UNUSED_S / 12))


async def test_no_open_task_is_looked_for_where_something_was_stored_just_now(
    own_world, looks, monkeypatch
):
    planner, asked, info = await own_world.session("planner"), [], consumers.info

    async def told(*about):
        asked.append(about)
        return await info(*about)

    monkeypatch.setattr(consumers, "info", told)
    counts = []
    for _ in range(3):
        await looks(planner.me.id, 1)
        counts.append(len(asked))

    assert counts == [0, 1, 1]


async def test_who_has_an_open_task_is_asked_for_each_time_until_it_is_over(own_world, looks):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    await looks(planner.me.id, 3)
    [receipt] = await send_task(planner, coder.me.id, "Count", "x")

    assert await looks(planner.me.id, 4) == [True] * 4
    await publish_result(planner, receipt.task_id, "cancelled")
    assert (await looks(planner.me.id, 5))[-1] is False


async def test_what_is_stored_is_looked_at_for_as_long_as_a_server_may_be_behind(
    own_world, monkeypatch
):
    clock = [0.0]
    monkeypatch.setattr(stillness, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    it = Stillness(own_world.bus, unkept.TASKS)
    await own_world.session("coder")
    known = []
    for clock[0] in (1.0, 2.0, 8.0):
        await it.look()
        known.append(it.holds_for("coder"))
        it.note("coder", is_still=True)

    assert (known, it.holds_for("coder")) == ([False, False, False], True)
