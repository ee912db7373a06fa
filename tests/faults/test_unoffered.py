# SPDX-License-Identifier: Apache-2.0
"""What waits comes to whoever reads, though the server offers it later: it is with nobody."""

from __future__ import annotations

import pytest
from proxy import Proxy

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import subjects
from mcp_agentbus.store.subjects import PRESENCE
from mcp_agentbus.store.task import ATTEMPTS_MAX
from mcp_agentbus.tools.answers import render


class Coders:
    """A planner, a coder's session whose connection can be cut, and one after it."""

    def __init__(self, planner, first, proxy, after):
        self.planner, self.first, self.proxy, self.after = planner, first, proxy, after

    async def send(self, *subjects_, **options):
        for each in subjects_:
            await send_task(self.planner, self.first.me.id, each, "x", **options)

    async def give_back_unheard(self):
        """Have the first session end as the word is lost that its tasks are to be offered again."""
        self.proxy.stay_away = True
        self.proxy.cut_at_request(b"-NAK")
        await self.first.close()
        assert self.proxy.cut.is_set()

    async def vanish(self):
        """Have the first session be gone without a word, and its last sign of life run out."""
        self.proxy.refuse()
        sign = subjects.heartbeat_subject(self.first.me.id, self.first.id)
        await self.after.bus.api(f"STREAM.PURGE.{PRESENCE}", {"filter": sign})


@pytest.fixture
async def coders(world):
    async with (
        Proxy(world.bus.settings) as proxy,
        Bus(proxy.settings) as bus,
        Session(bus, Agent(world.name("coder"))) as first,
        Session(world.bus, first.me) as after,
    ):
        await read_inbox(first)
        await read_inbox(after)
        yield Coders(await world.session("planner"), first, proxy, after)


def _subjects(inbox):
    return [item.task.subject for item in inbox.tasks]


def _new(inbox):
    return [item.task.subject for item in inbox.tasks if item.new]


@pytest.mark.parametrize("priority", ["high", "low"])
async def test_what_a_session_gave_back_in_a_word_that_was_lost_comes_to_the_next_read(
    coders, priority
):
    await coders.send("1", "2", priority=priority)
    await read_inbox(coders.first)
    await coders.give_back_unheard()

    inbox = await read_inbox(coders.after)

    assert (_subjects(inbox), inbox.waiting, inbox.of_gone) == (["1", "2"], {}, 0)
    for item in inbox.tasks:
        await publish_result(coders.after, item.task.id, "completed")
    ends = (await watch_inbox(coders.planner, timeout_s=5)).results
    assert [end.state for end in ends] == ["completed", "completed"]


async def test_whoever_watches_is_given_it_at_the_latest_when_the_time_is_over(coders):
    await coders.send("1")
    await read_inbox(coders.first)
    await coders.give_back_unheard()

    assert _subjects(await watch_inbox(coders.after, timeout_s=0)) == ["1"]


async def test_a_wait_for_one_priority_takes_no_other(coders):
    await coders.send("1", priority="low")
    await read_inbox(coders.first)
    await coders.give_back_unheard()

    inbox = await watch_inbox(coders.after, timeout_s=0, priority="high")

    assert (_subjects(inbox), inbox.waiting) == ([], {"low": 1})


async def test_of_more_than_is_wanted_the_oldest_come_and_the_others_are_said_to_wait(coders):
    await coders.send("1", "2", "3")
    await read_inbox(coders.first)
    await coders.give_back_unheard()

    inbox = await read_inbox(coders.after, limit=2)

    assert (_subjects(inbox), inbox.waiting) == (["1", "2"], {"normal": 1})
    assert "1 normal" in render.inbox_text(inbox, coders.after.me.id)


async def test_whoever_has_enough_to_do_is_given_the_urgent_ones_alone(coders):
    await coders.send("1", "2", "3", "4", "5")
    await read_inbox(coders.after)
    await coders.send("normal")
    await coders.send("high", priority="high")
    await read_inbox(coders.first)
    await coders.give_back_unheard()

    assert _new(await read_inbox(coders.after)) == ["high"]
    assert _new(await read_inbox(coders.after)) == []


async def claimed(coders, times):
    """Have a task be claimed so often, each time in vain, and given back in a word that was lost."""
    await coders.send("1")
    for attempt in range(1, times + 1):
        [item] = (await read_inbox(coders.first)).tasks
        await publish_result(coders.first, item.task.id, "working")
        if attempt < times:
            await publish_result(coders.first, item.task.id, "released")
    await coders.give_back_unheard()


async def test_what_was_claimed_in_vain_counts_also_where_the_word_was_lost(coders):
    await claimed(coders, ATTEMPTS_MAX - 1)

    [item] = (await read_inbox(coders.after)).tasks

    assert item.attempt == ATTEMPTS_MAX


async def test_what_may_be_claimed_no_more_is_left_to_whoever_is_offered_it(coders):
    await claimed(coders, ATTEMPTS_MAX)

    assert _subjects(await read_inbox(coders.after)) == []


@pytest.mark.parametrize("priority", ["high", "low"])
async def test_what_a_session_has_that_is_gone_is_said_to_be_offered_soon_and_not_taken(
    coders, priority
):
    """It may only have been cut off: the server offers it once it was not heard from for longer."""
    await coders.send("1", "2", priority=priority)
    await read_inbox(coders.first)
    assert _subjects(await read_inbox(coders.after)) == []
    await coders.vanish()

    for inbox in (await read_inbox(coders.after), await watch_inbox(coders.after, timeout_s=0)):
        assert (_subjects(inbox), inbox.waiting, inbox.of_gone) == ([], {priority: 2}, 2)
        told = render.inbox_text(inbox, coders.after.me.id)
        assert "2 of them had a session that is gone" in told
        assert "Call watch_inbox" in told


async def offered_again(coders, count):
    """Have a session claim so many and be gone for so long that the server offers them again."""
    await coders.send(*map(str, range(1, count + 1)))
    await read_inbox(coders.first)
    claims = list(coders.first.claims.values())
    await coders.vanish()
    for claim in claims:
        await coders.after.bus.give_back(claim.delivery)


async def test_who_waits_is_given_all_that_a_session_had_that_is_gone(coders):
    await offered_again(coders, 3)

    inbox = await watch_inbox(coders.after, timeout_s=5)

    assert (_subjects(inbox), inbox.waiting) == (["1", "2", "3"], {})


@pytest.mark.parametrize("ask", [read_inbox, watch_inbox])
async def test_who_is_given_one_of_several_that_it_had_is_told_of_the_others(coders, ask):
    await offered_again(coders, 3)

    inbox = await ask(coders.after, limit=1)

    assert (_subjects(inbox), inbox.waiting, inbox.of_gone) == (["1"], {"normal": 2}, 2)


async def test_what_another_session_has_just_claimed_is_its_own_though_no_sign_of_it_is_there(
    coders,
):
    await coders.send("1", "2")
    sign = subjects.heartbeat_subject(coders.first.me.id, coders.first.id)
    await coders.after.bus.api(f"STREAM.PURGE.{PRESENCE}", {"filter": sign})
    [held, _] = (await read_inbox(coders.first)).tasks

    assert _subjects(await read_inbox(coders.after)) == []
    published = await publish_result(coders.first, held.task.id, "completed")
    assert published.state == "completed"


async def test_while_nothing_waits_nobody_is_asked_what_was_handed_out(coders, monkeypatch):
    await coders.send("1", "2")
    await read_inbox(coders.first, limit=1)
    await read_inbox(coders.after, limit=1)
    monkeypatch.setattr(coders.after.bus, "handed_out", None)

    assert _new(await read_inbox(coders.after)) == []
    assert _subjects(await watch_inbox(coders.after, timeout_s=0)) == []


async def test_whoever_was_cut_off_and_reads_again_is_not_told_that_its_own_tasks_wait(coders):
    await coders.send("1", "2")
    await read_inbox(coders.after, limit=1)
    await read_inbox(coders.first)
    sign = subjects.heartbeat_subject(coders.first.me.id, coders.first.id)
    await coders.after.bus.api(f"STREAM.PURGE.{PRESENCE}", {"filter": sign})

    inbox = await read_inbox(coders.first)

    assert (_subjects(inbox), inbox.waiting, inbox.of_gone) == (["2"], {}, 0)
    assert inbox.held_elsewhere == 1
