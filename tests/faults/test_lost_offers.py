# SPDX-License-Identifier: Apache-2.0
"""What was handed out in an answer that was lost comes at once, before what was sent later."""

from __future__ import annotations

import asyncio

import pytest
from proxy import Proxy

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store.queries.consumers import lane
from mcp_agentbus.store.subjects import TASKS

# What the server says of a task that it hands out.
_OFFER = b"$JS.ACK.AGENTBUS_TASKS."
# And what says that a claim is stored.
_CLAIMED = b'{"stream":"AGENTBUS_RESULTS"'


@pytest.fixture
async def cut(world):
    """A reader whose connection can be cut at a word, and a planner who sends it numbers."""
    planner = await world.session("planner")
    async with (
        Proxy(world.bus.settings) as proxy,
        Bus(proxy.settings) as bus,
        Session(bus, Agent(world.name("coder"))) as coder,
    ):
        await read_inbox(coder)

        async def send(*subjects):
            for subject in subjects:
                await send_task(planner, coder.me.id, subject, "x")

        yield coder, proxy, send


def _subjects(inbox):
    return [item.task.subject for item in inbox.tasks]


async def test_an_offer_that_was_lost_is_made_good_within_the_same_read(cut):
    coder, proxy, send = cut
    await send("1", "2", "3")
    proxy.cut_at_answer(_OFFER)

    assert _subjects(await read_inbox(coder)) == ["1", "2", "3"]
    assert proxy.cut.is_set()


async def test_so_is_one_of_a_task_that_was_given_back_before(cut):
    coder, proxy, send = cut
    await send("1")
    [item] = (await read_inbox(coder)).tasks
    await publish_result(coder, item.task.id, "released")
    proxy.cut_at_answer(_OFFER)

    assert _subjects(await read_inbox(coder)) == ["1"]
    assert proxy.cut.is_set()


async def test_one_task_after_the_other_comes_in_order_though_each_offer_is_lost_once(cut):
    coder, proxy, send = cut
    await send("1", "2", "3")
    came = []
    for _ in range(3):
        proxy.cut_at_answer(_OFFER)
        watched = await watch_inbox(coder, limit=1, timeout_s=5)
        came += _subjects(watched)
        await publish_result(coder, watched.tasks[0].task.id, "completed", summary="x")

    assert came == ["1", "2", "3"]


async def test_what_is_lost_with_a_call_that_fails_comes_before_what_is_sent_later(cut):
    coder, proxy, send = cut
    await send("1", "2")
    proxy.stay_away = True
    proxy.cut_at_answer(_OFFER)
    with pytest.raises(AgentbusError):
        await read_inbox(coder)
    proxy.accept()
    await send("3")

    assert _subjects(await read_inbox(coder)) == ["1", "2", "3"]


async def test_a_claim_that_nobody_confirmed_comes_at_the_next_call(cut):
    coder, proxy, send = cut
    await send("1", "2")
    proxy.stay_away = True
    proxy.cut_at_answer(_CLAIMED)
    with pytest.raises(AgentbusError):
        await read_inbox(coder)
    proxy.accept()

    assert sorted(_subjects(await read_inbox(coder))) == ["1", "2"]


async def test_what_another_session_holds_is_left_to_it(cut, world):
    coder, proxy, send = cut
    await send("1", "2")
    async with Session(world.bus, coder.me) as other:
        held = _subjects(await watch_inbox(other, limit=1, timeout_s=5))
        proxy.cut_at_answer(_OFFER)

        assert held + _subjects(await read_inbox(coder)) == ["1", "2"]


async def test_a_connection_that_answers_costs_no_look(cut, monkeypatch):
    coder, _, send = cut
    await send("1")
    monkeypatch.setattr(coder.bus, "handed_out", None)

    assert _subjects(await read_inbox(coder)) == ["1"]


async def test_an_answer_that_brings_what_was_lost_says_how_much_waits_behind_it(cut):
    coder, proxy, send = cut
    await send("1", "2", "3", "4")
    proxy.cut_at_answer(_OFFER)
    first = await read_inbox(coder, limit=1)
    pulled = await coder.bus.pull(TASKS, lane(coder.me.id, "normal").name, 2)
    coder.bus.unanswered += 1  # as where the answer was lost
    second = await read_inbox(coder, limit=1)

    assert len(pulled) == 2
    assert (_subjects(first)[-1:], first.waiting) == (["1"], {"normal": 3})
    assert (_subjects(second)[-1:], second.waiting) == (["2"], {"normal": 2})


async def test_what_a_reader_leaves_to_others_is_looked_at_once_by_a_read_after_a_lost_answer(
    cut, world
):
    coder, proxy, send = cut
    role = world.name("review")
    taking, leaving = (
        Agent(world.name(name), roles=(role,), accept_from=accept_from)
        for name, accept_from in (("taker", ("*",)), ("leaver", ("nobody",)))
    )
    async with Session(coder.bus, taking) as taker, Session(coder.bus, leaving) as leaver:
        for session in (taker, leaver):
            await read_inbox(session)
        await send_task(coder, f"role:{role}", "For one of them", "x")
        await read_inbox(leaver)
        await send("Lost")
        proxy.cut_at_answer(_OFFER)
        await read_inbox(coder)
        async with asyncio.timeout(10):  # a server offers by itself what was lost after 24 s
            left = await read_inbox(leaver, limit=1)

        assert (left.tasks, left.waiting) == ((), {"normal": 1})
        assert _subjects(await read_inbox(taker)) == ["For one of them"]
