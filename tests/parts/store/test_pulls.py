# SPDX-License-Identifier: Apache-2.0
"""What was stored is handed out at once, though its consumer may not have heard of it yet."""

from __future__ import annotations

import pytest

from mcp_agentbus.bus.replies import HandedOut
from mcp_agentbus.errors import BusUnreachable
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import streams, waiting
from mcp_agentbus.store.reading import pulls


@pytest.fixture
def behind(world, monkeypatch):
    """Have consumers hand out only so many of what is stored, in pull after pull; then all."""
    pull, firsts = world.bus.pull, []

    async def as_one_behind(stream, consumer, batch, **how):
        first = firsts.pop(0) if firsts else batch
        if isinstance(first, Exception):
            raise first
        return await pull(stream, consumer, min(batch, first), **how) if first else []

    monkeypatch.setattr(world.bus, "pull", as_one_behind)
    return firsts


async def _sent(world, count):
    planner, coder = await world.session("planner"), await world.session("coder")
    for number in range(count):
        await send_task(planner, coder.me.id, f"{number}", "x")
    return planner, coder


@pytest.mark.parametrize("firsts", [[0], [0, 0, 0], [1], [2, 0, 1], [1, 1, 0, 0]])
async def test_a_consumer_that_is_behind_hands_out_all_that_was_stored(world, behind, firsts):
    _, coder = await _sent(world, 3)
    behind += firsts

    taken = await pulls.pull(world.bus, streams.lane(coder.me.id, "normal"), 5)

    assert [delivery.headers["Agentbus-Hops"] for delivery in taken] == ["0"] * 3
    assert sorted(delivery.seq for delivery in taken) == [delivery.seq for delivery in taken]


async def test_an_answer_names_what_was_stored_before_it_was_asked(world, behind):
    _, coder = await _sent(world, 2)
    behind += [0, 0]  # for what is urgent, and the others

    assert [item.task.subject for item in (await read_inbox(coder)).tasks] == ["0", "1"]


async def test_a_result_is_given_though_its_consumer_is_behind(world, behind):
    planner, coder = await _sent(world, 1)
    [item] = (await read_inbox(coder)).tasks
    await publish_result(coder, item.task.id, "completed", summary="12")
    behind += [streams.CLAIMS_MAX] * 3 + [0]  # each lane as it is

    assert [record.summary for record in (await read_inbox(planner)).results] == ["12"]


async def test_what_others_hold_is_nothing_to_wait_for(world, monkeypatch):
    _, coder = await _sent(world, 2)
    consumer = streams.lane(coder.me.id, "normal")
    held = await pulls.pull(world.bus, consumer, 5)
    monkeypatch.setattr(pulls.asyncio, "sleep", None)  # nobody waits here

    assert (len(held), await pulls.pull(world.bus, consumer, 5)) == (2, [])


async def test_what_was_taken_is_returned_whatever_comes_after(world, behind):
    _, coder = await _sent(world, 3)
    consumer = streams.lane(coder.me.id, "normal")
    behind += [1, BusUnreachable(), 1, HandedOut()]

    taken = [await pulls.pull(world.bus, consumer, 5) for _ in range(2)]

    assert [len(some) for some in taken] == [1, 1]


async def test_a_consumer_that_is_lost_at_that_moment_is_made_anew_by_the_next_pull(world):
    _, coder = await _sent(world, 1)
    consumer = streams.lane(coder.me.id, "normal")
    pull = world.bus.pull

    async def and_lose(*which, **how):
        taken = await pull(*which, **how)
        await world.bus.api(f"CONSUMER.DELETE.{consumer.stream}.{consumer.name}")
        return taken

    with pytest.MonkeyPatch.context() as lost:
        lost.setattr(world.bus, "pull", and_lose)
        first = await pulls.pull(world.bus, consumer, 5)
    again = await pulls.pull(world.bus, consumer, 5)

    assert (len(first), len(again)) == (1, 1)


async def test_what_waits_is_counted_though_its_consumer_is_behind(world, monkeypatch):
    _, coder = await _sent(world, 2)
    api = world.bus.api

    async def as_one_behind(call, *more, **how):
        info = await api(call, *more, **how)
        return info | {"num_pending": 0} if call.startswith("CONSUMER.INFO") else info

    monkeypatch.setattr(world.bus, "api", as_one_behind)
    looks = [
        await look(world.bus, coder.me.id, "normal") for look in (waiting.look, waiting.look_soon)
    ]

    assert [lane.count for lane in looks] == [2, 2]
