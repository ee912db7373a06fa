# SPDX-License-Identifier: Apache-2.0
"""What a session's calls are given: a new claim whole and once, then a line of it."""

from __future__ import annotations

import asyncio

import pytest

from mcp_agentbus.core.ids import LANES
from mcp_agentbus.handoff.call import Calls
from mcp_agentbus.handoff.inbox import FILL, read_inbox, watch_inbox
from mcp_agentbus.handoff.intake import lanes
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store.records import write_record
from mcp_agentbus.tools.answers import render


@pytest.fixture
def pair(world):
    async def made(tasks):
        planner, coder = await world.session("planner"), await world.session("coder")
        sent = [await send_task(planner, coder.me.id, f"s{n}", f"body {n}") for n in range(tasks)]
        return planner, coder, [receipts[0].task_id for receipts in sent]

    return made


def whole(inbox):
    return [item.task.id for item in inbox.tasks if item.given_at is None]


def named(inbox):
    return [item.task.id for item in inbox.tasks if item.given_at is not None]


async def test_a_wait_gives_what_was_claimed_for_an_answer_that_never_was_and_fills_up(pair):
    _, coder, sent = await pair(4)
    await lanes.take(coder, 2, LANES, ())

    waited = await watch_inbox(coder, timeout_s=20)

    assert whole(waited) == sent


@pytest.mark.promise(9)
async def test_of_calls_at_once_each_claims_a_task_of_its_own_and_none_is_given_twice(pair):
    _, coder, sent = await pair(4)

    read = await asyncio.gather(*(read_inbox(coder, limit=1) for _ in range(3)))
    later = await read_inbox(coder, limit=1)

    assert [whole(inbox) for inbox in read] == [[task_id] for task_id in sent[:3]]
    assert (named(later), whole(later)) == (sent[:3], sent[3:])
    text = render.inbox_text(later, coder.me.id)
    assert ("body 0" in text, "body 3" in text) == (False, True)
    assert "1 task, 3 tasks given before and still held." in text
    assert (
        f"Task {sent[0]} from {coder.claims[sent[0]].task.sender} \u00b7 normal \u00b7 claimed "
        f"\u00b7 given to a call of this session just now \u00b7 the whole: "
        f"read_inbox(task_id='{sent[0]}')" in text
    )


async def test_without_a_limit_a_reading_claims_until_five_are_held(pair):
    _, coder, sent = await pair(8)

    asked = await read_inbox(coder, limit=2)
    filled = await read_inbox(coder)
    full = await read_inbox(coder)
    more = await read_inbox(coder, limit=2)

    assert (whole(asked), named(asked)) == (sent[:2], [])
    assert (whole(filled), named(filled)) == (sent[2:FILL], sent[:2])
    assert (whole(full), named(full), full.waiting) == ([], sent[:FILL], {"normal": 3})
    assert (whole(more), named(more)) == (sent[FILL : FILL + 2], sent[:FILL])


@pytest.mark.parametrize("waits", [True, False], ids=["sent while they wait", "sent before"])
async def test_calls_that_wait_at_once_get_one_task_each(pair, waits):
    planner, coder, sent = await pair(0 if waits else 3)
    entered = [asyncio.Event() for _ in range(3)]

    def watch(event):
        async def waiting(_):
            event.set()

        return asyncio.create_task(watch_inbox(coder, timeout_s=20, waiting=waiting))

    watches = [watch(event) for event in entered]
    if waits:
        await asyncio.gather(*(event.wait() for event in entered))
        receipts = [await send_task(planner, coder.me.id, "s", "b") for _ in range(3)]
        sent = [each[0].task_id for each in receipts]
    answers = await asyncio.gather(*watches)

    assert sorted(map(whole, answers)) == sorted([task_id] for task_id in sent)


async def test_one_that_waits_alone_claims_until_five_are_held(pair):
    _, coder, sent = await pair(7)

    first = await watch_inbox(coder, timeout_s=5)
    second = await watch_inbox(coder, timeout_s=5)

    assert (whole(first), whole(second)) == (sent[:5], sent[5:6])


class Abandoned:
    """A session whose calls are answered and that its client gives up, without a word."""

    def __init__(self, session, after_s):
        self.now = 0.0
        session.calls = Calls(lambda: self.now)
        self._session, self._after_s = session, after_s

    async def call(self, tool, **options):
        begun = self._session.calls.begin()
        answer = await tool(self._session, call=begun, **options)
        self.now += self._after_s
        begun.answered()
        self._after_s = 0
        return answer


@pytest.mark.promise(9)
async def test_a_task_that_a_given_up_call_took_is_news_once_more(pair):
    _, coder, [task_id] = await pair(1)
    client = Abandoned(coder, 6)
    await client.call(watch_inbox, timeout_s=5)

    again = await client.call(watch_inbox, timeout_s=60)
    then = await client.call(watch_inbox, timeout_s=0)

    assert (named(again), whole(again)) == ([task_id], [])
    assert then.timed_out


async def test_a_task_that_its_reader_has_named_is_no_news(pair):
    _, coder, [task_id] = await pair(1)
    client = Abandoned(coder, 6)
    await client.call(watch_inbox, timeout_s=5)
    await publish_result(coder, task_id, "working")

    assert (await client.call(watch_inbox, timeout_s=0)).timed_out


@pytest.mark.promise(34)
@pytest.mark.parametrize("later", [read_inbox, watch_inbox])
async def test_a_result_that_a_given_up_call_had_is_named_once_more_and_seen_then(pair, later):
    planner, coder, [task_id] = await pair(1)
    await read_inbox(coder)
    await publish_result(coder, task_id, "completed", body="the result")
    client = Abandoned(planner, 6)
    first = await client.call(watch_inbox, timeout_s=5)

    again = await client.call(later)
    then = await client.call(read_inbox)

    assert [first.results_given_at, list(again.results_given_at)] == [{}, [task_id]]
    text = render.inbox_text(again, planner.me.id)
    assert f"Result of task {task_id} to {coder.me.id}: completed" in text
    assert f"may have been given up \u00b7 the whole: read_inbox(task_id='{task_id}')" in text
    assert "the result" not in text
    assert then.results == ()


async def test_what_a_call_got_meanwhile_is_named_by_one_that_waits_until_its_time_is_over(pair):
    """The other one may have been given up; what is named by both is done by one."""
    _, coder, [task_id] = await pair(1)
    first, waits = coder.calls.begin(), coder.calls.begin()
    entered = asyncio.Event()

    async def waiting(_):
        entered.set()

    taken = await read_inbox(coder, call=first)
    watch = watch_inbox(coder, timeout_s=0.5, waiting=waiting, call=waits)
    running = asyncio.create_task(watch)
    await entered.wait()
    first.answered()
    answer = await running

    assert (whole(taken), named(answer), whole(answer)) == ([task_id], [task_id], [])


async def test_urgent_work_does_not_wait_for_the_end_of_what_is_held(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    for number in range(6):
        await send_task(planner, coder.me.id, f"{number}", "x")
    await read_inbox(coder)
    [urgent] = await send_task(planner, coder.me.id, "Now", "x", priority="high")

    read = await read_inbox(coder)
    after = await read_inbox(coder)

    assert [item.task.id for item in read.tasks if item.new] == [urgent.task_id]
    assert not any(item.new for item in after.tasks)
    assert "Waiting: 1 normal. Call read_inbox with limit 1 for another." in render.inbox_text(
        after, coder.me.id
    )


async def test_what_a_session_has_written_and_nobody_confirmed_is_what_it_is_shown(pair, world):
    _, coder, [task_id] = await pair(1)
    await read_inbox(coder)
    claim = coder.claims[task_id]
    working = claim.record.model_copy(update={"state": "working"})
    await write_record(world.bus, working, claim.revision)

    [item] = (await read_inbox(coder)).tasks

    assert item.state == "working"
