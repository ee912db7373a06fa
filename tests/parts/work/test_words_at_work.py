# SPDX-License-Identifier: Apache-2.0
"""A word that a worker is at: over once it was dealt with, and given back where it was not."""

import asyncio

import pytest

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BusUnreachable, Unconfirmed
from mcp_agentbus.handoff.claims import Claims
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.intake import arrivals
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import records
from mcp_agentbus.store.records import read_record, write_record
from mcp_agentbus.work.worker import Worker

HANG_S = 20  # only a hang takes as long
GIVEN_BACK = ["stored", "claimed", "stored"]


@pytest.fixture
async def word(world):
    """Send a worker a word; return the worker's agent, and the steps of the word so far."""
    planner, agent = await world.session("planner"), Agent(world.name("coder"))
    await (await world.session("coder")).close()
    [sent] = await send_task(planner, agent.id, "Green", "all", expect="nothing")

    async def steps():
        life = await task_life(planner, sent.task_id)
        return [moment.state for moment in life.record.history]

    return agent, steps


async def read_by_the_next(world):
    """Return the words that another session of the agent reads, and their attempts."""
    reader = await world.session("coder")
    return [(item.task.body, item.attempt) for item in (await read_inbox(reader)).tasks]


async def test_a_worker_that_is_stopped_gives_the_word_back_that_it_is_at(world, word):
    agent, steps = word

    async def handler(_):
        worker.stop()
        await asyncio.Event().wait()

    async with Worker(world.bus, agent) as worker:
        done = await worker.run_once(handler)

    assert (done.state, await steps()) == ("released", GIVEN_BACK)
    assert await read_by_the_next(world) == [("all", 1)]


async def test_a_worker_that_ends_while_it_is_at_a_word_gives_it_back(world, word):
    agent, steps = word
    begun = asyncio.Event()

    async def handler(_):
        begun.set()
        await asyncio.Event().wait()

    async with Worker(world.bus, agent) as worker:
        running = asyncio.create_task(worker.run(handler))
        async with asyncio.timeout(HANG_S):
            await begun.wait()
        running.cancel()
        await asyncio.wait([running])

    assert await steps() == GIVEN_BACK
    assert await read_by_the_next(world) == [("all", 1)]


async def test_a_word_is_given_back_where_the_worker_itself_has_a_fault(world, word, monkeypatch):
    agent, steps = word

    async def fails(*_):
        raise ZeroDivisionError

    async def handler(_):
        return ""

    async with Worker(world.bus, agent) as worker:
        monkeypatch.setattr(arrivals, "word_is_over", fails)
        done = await worker.run_once(handler)

    assert (done.state, await steps()) == ("released", GIVEN_BACK)
    assert await read_by_the_next(world) == [("all", 2)]  # else it would be so for ever


@pytest.mark.parametrize("error", [BusUnreachable, Unconfirmed])
async def test_a_word_that_was_dealt_with_is_over_once_the_bus_is_back(
    world, word, monkeypatch, error
):
    agent, steps = word
    calls, write = [], records.write

    async def away_at_first(bus, key, record, revision):
        if getattr(record, "state", "") == "completed":
            calls.append(1)
            if len(calls) < 3:
                raise error
        return await write(bus, key, record, revision)

    async def handler(_):
        calls.clear()
        return ""

    async with Worker(world.bus, agent) as worker:
        monkeypatch.setattr(records, "write", away_at_first)
        done = await worker.run_once(handler)
        held = dict(worker.session.claims)

    assert (done.state, held, len(calls)) == ("completed", {}, 3)
    assert (await steps())[-1] == "completed"


async def test_a_word_whose_life_another_has_written_on_is_over_all_the_same(world, word):
    agent, steps = word

    async def handler(task):
        record, revision = await read_record(world.bus, "*", agent.id, task.id)
        await write_record(world.bus, record, revision)  # as a listener notes why it wakes nobody
        return ""

    async with Worker(world.bus, agent) as worker:
        done = await worker.run_once(handler)
        held = dict(worker.session.claims)

    assert (done.state, held, (await steps())[-1]) == ("completed", {}, "completed")


async def test_a_word_that_another_has_by_now_is_not_this_workers_to_end(world, word):
    agent, steps = word

    async def handler(task):
        record, revision = await read_record(world.bus, "*", agent.id, task.id)
        other = record.model_copy(update={"session": "another"})
        await write_record(world.bus, other, revision)
        return ""

    async with Worker(world.bus, agent) as worker:
        done = await worker.run_once(handler)
        held = dict(worker.session.claims)

    assert (done.state, held, await steps()) == ("over", {}, ["stored", "claimed"])


async def test_a_word_cannot_be_given_back_while_the_bus_is_away_and_is_then(
    world, word, monkeypatch
):
    agent, steps = word
    calls, give_back = [], Claims.give_back

    async def away_at_first(*given, **more):
        calls.append(1)
        if len(calls) < 2:
            raise BusUnreachable
        await give_back(*given, **more)

    async def handler(_):
        monkeypatch.setattr(Claims, "give_back", away_at_first)
        worker.stop()
        await asyncio.Event().wait()

    async with Worker(world.bus, agent) as worker:
        done = await worker.run_once(handler)

    assert (done.state, len(calls), await steps()) == ("released", 2, GIVEN_BACK)


async def test_a_worker_that_is_stopped_as_a_task_begins_gives_it_back_at_once(world):
    """Between the making of what does a task and its first step nobody knows of it."""
    planner, agent = await world.session("planner"), Agent(world.name("coder"))
    await (await world.session("coder")).close()
    [sent] = await send_task(planner, agent.id, "Count", "all")

    async def handler(_):
        await asyncio.Event().wait()

    async with Worker(world.bus, agent) as worker:
        asyncio.get_running_loop().call_soon(worker.stop)  # as it claims
        async with asyncio.timeout(HANG_S):
            done = await worker.run_once(handler)

    life = await task_life(planner, sent.task_id)
    assert (done.state, life.state) == ("released", "stored")
