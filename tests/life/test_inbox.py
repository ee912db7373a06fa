# SPDX-License-Identifier: Apache-2.0
"""Reading, peeking and waiting: who gets which task, and what an answer says."""

from __future__ import annotations

import asyncio

import pytest
from messages import read_record

from mcp_agentbus.errors import BadInput, NotClaimed
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import subjects
from mcp_agentbus.store.records import write_record, write_sent
from mcp_agentbus.store.steps import sent_by_record


async def test_an_empty_inbox_says_that_it_is_in_order(world):
    coder = await world.session("coder")

    inbox = await read_inbox(coder)

    assert inbox.empty
    assert (inbox.degraded, inbox.waiting, inbox.next_cursor) == ("", {}, None)


@pytest.mark.promise(9)
async def test_reading_twice_shows_the_same_tasks(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    for number in range(3):
        await send_task(planner, coder.me.id, f"{number}", "x")

    first = await read_inbox(coder)
    second = await read_inbox(coder)

    assert [item.task.id for item in first.tasks] == [item.task.id for item in second.tasks]
    assert [item.new for item in first.tasks] == [True] * 3
    assert [item.new for item in second.tasks] == [False] * 3


async def test_high_is_read_before_normal_and_normal_before_low(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    for priority in ("low", "normal", "high"):
        await send_task(planner, coder.me.id, priority, "x", priority=priority)

    read = await read_inbox(coder)

    assert [item.task.subject for item in read.tasks] == ["high", "normal", "low"]


async def test_what_waits_behind_the_limit_is_counted_by_priority(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    for priority in ("high", "normal", "normal", "low"):
        await send_task(planner, coder.me.id, priority, "x", priority=priority)

    read = await read_inbox(coder, limit=1)

    assert read.waiting == {"normal": 2, "low": 1}
    assert read.next_cursor is not None


@pytest.mark.promise(14)
async def test_paging_shows_every_task_once_also_those_that_come_meanwhile(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    sent = [f"{number}" for number in range(60)]
    for subject in sent[:40]:
        await send_task(planner, coder.me.id, subject, "x")

    seen: list[str] = []
    cursor = None
    while True:
        page = await read_inbox(coder, limit=8, cursor=cursor)
        seen += [item.task.subject for item in page.tasks]
        if len(seen) == 16:
            for subject in sent[40:]:
                await send_task(planner, coder.me.id, subject, "x")
        cursor = page.next_cursor
        if cursor is None:
            break

    assert seen == sent


@pytest.mark.promise(14)
async def test_peeking_pages_through_500_tasks_without_claiming_one(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    await asyncio.gather(
        *(send_task(planner, coder.me.id, f"{number}", "x") for number in range(500))
    )

    seen: list[str] = []
    cursor = None
    while True:
        page = await read_inbox(coder, limit=50, peek=True, cursor=cursor)
        seen += [item.task.subject for item in page.tasks]
        if (cursor := page.next_cursor) is None:
            break

    assert sorted(seen, key=int) == [f"{number}" for number in range(500)]
    assert page.waiting == {"normal": 500}
    assert not coder.claims


async def test_a_cursor_of_another_kind_is_refused(world):
    coder = await world.session("coder")

    for cursor in ("peek-1-1", "claim-", "claim-x", "", "9" * 40):
        with pytest.raises(BadInput, match="cursor"):
            await read_inbox(coder, cursor=cursor)
    with pytest.raises(BadInput, match="cursor"):
        await read_inbox(coder, peek=True, cursor="claim-3")


@pytest.mark.parametrize("limit", [0, -1, 51])
async def test_a_limit_out_of_range_is_refused(world, limit):
    coder = await world.session("coder")

    with pytest.raises(BadInput, match="limit"):
        await read_inbox(coder, limit=limit)


async def test_peeking_names_the_session_that_holds_a_task(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    other = await world.session("coder")
    await send_task(planner, coder.me.id, "Held", "x")
    await send_task(planner, coder.me.id, "Free", "x")
    await read_inbox(other, limit=1)

    peeked = await read_inbox(coder, peek=True)

    assert [(item.task.subject, item.state, item.holder) for item in peeked.tasks] == [
        ("Held", "claimed", f"{other.me.id}/{other.id}"),
        ("Free", "stored", ""),
    ]


@pytest.mark.promise(12)
async def test_a_task_that_one_session_holds_is_refused_to_another_by_name(world):
    planner, first = await world.session("planner"), await world.session("coder")
    second = await world.session("coder")
    await send_task(planner, first.me.id, "Mine", "x")
    [item] = (await read_inbox(first)).tasks

    assert (await read_inbox(second)).empty
    with pytest.raises(NotClaimed) as refused:
        await publish_result(second, item.task.id, "completed")

    assert first.id in refused.value.message


@pytest.mark.promise(12)
async def test_a_session_that_ends_gives_its_tasks_to_the_next_at_once(world):
    planner, first = await world.session("planner"), await world.session("coder")
    second = await world.session("coder")
    await send_task(planner, first.me.id, "Mine", "x")
    await read_inbox(first)

    await first.close()

    [item] = (await read_inbox(second)).tasks
    assert item.task.subject == "Mine"
    assert item.attempt == 1, "a claim that was never worked on does not count"


async def test_a_released_task_goes_to_another_session_and_counts_as_an_attempt(world):
    planner, first = await world.session("planner"), await world.session("coder")
    second = await world.session("coder")
    await send_task(planner, first.me.id, "Not for me", "x")
    [item] = (await read_inbox(first)).tasks

    published = await publish_result(
        first, item.task.id, "released", summary="Needs root", body="See here", artifacts=["a.log"]
    )

    assert (published.state, published.unkept) == ("stored", False)
    [again] = (await read_inbox(second)).tasks
    assert again.attempt == 2
    steps = (await task_life(planner, item.task.id)).history
    [said] = [step for step in steps if step.state == "stored" and step.by == first.me.id]
    assert said.note == "Needs root\n\nSee here\n\nArtifact: a.log"


async def test_what_is_said_with_a_release_and_not_kept_is_told(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    [receipt] = await send_task(planner, coder.me.id, "Not for me", "x")

    nobodys = await publish_result(coder, receipt.task_id, "released", summary="why")
    await read_inbox(coder)
    long = await publish_result(coder, receipt.task_id, "released", body="b" * 501)

    assert nobodys.note.endswith("in the inbox as before. What was said with that was not stored.")
    assert long.note.endswith("back in the inbox. Of what was said, 500 characters are kept.")


@pytest.mark.promise(10)
async def test_a_waiting_call_returns_when_a_task_is_stored(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    entered = asyncio.Event()

    async def waiting(_):
        entered.set()

    async with asyncio.timeout(20):
        watching = asyncio.create_task(watch_inbox(coder, timeout_s=60, waiting=waiting))
        await entered.wait()
        await send_task(planner, coder.me.id, "Now", "x")
        inbox = await watching

    assert [item.task.subject for item in inbox.tasks] == ["Now"]
    assert not inbox.timed_out


@pytest.mark.promise(10)
@pytest.mark.parametrize("what", ["task", "result"])
async def test_a_notice_that_overtakes_what_it_is_of_keeps_nobody_waiting(world, monkeypatch, what):
    """The server may say that something is stored before its consumer hands it out."""
    planner, coder = await world.session("planner"), await world.session("coder")
    entered, held_back = asyncio.Event(), set()
    monkeypatch.setattr("mcp_agentbus.handoff.intake.watches.LOOK_AGAIN_S", 3600)

    async def waiting(_):
        entered.set()

    async def hands_out_late(stream, consumer, batch, pull=coder.bus.pull):
        if entered.is_set() and consumer not in held_back:
            held_back.add(consumer)
            return []
        return await pull(stream, consumer, batch)

    async with asyncio.timeout(20):
        watching = asyncio.create_task(watch_inbox(coder, timeout_s=60, waiting=waiting))
        await entered.wait()
        monkeypatch.setattr(coder.bus, "pull", hands_out_late)
        if what == "task":
            await send_task(planner, coder.me.id, "Now", "x")
        else:
            record = read_record(
                subjects.record_subject(coder.me.id, "other", "t9"), state="failed"
            )
            asked = sent_by_record(record).model_copy(update={"unasked": False})
            await write_sent(planner.bus, asked, 0)
            await write_record(planner.bus, record, 0)
        answer = await watching

    assert held_back
    assert len(answer.tasks) + len(answer.results) == 1


@pytest.mark.promise(10)
async def test_a_waiting_call_ends_empty_and_without_an_error_at_its_limit(world):
    coder = await world.session("coder")

    inbox = await watch_inbox(coder, timeout_s=0.05)

    assert inbox.timed_out
    assert inbox.empty


async def test_waiting_for_one_priority_leaves_the_others_alone(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    await send_task(planner, coder.me.id, "Normal", "x")
    await send_task(planner, coder.me.id, "High", "x", priority="high")

    inbox = await watch_inbox(coder, timeout_s=5, priority="high")

    assert [item.task.subject for item in inbox.tasks] == ["High"]
    assert inbox.waiting == {"normal": 1}


async def test_waiting_for_a_result_claims_no_task(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    await send_task(coder, planner.me.id, "For planner", "x")
    [receipt] = await send_task(planner, coder.me.id, "For coder", "x")

    inbox = await watch_inbox(planner, task_id=receipt.task_id, timeout_s=0.05)

    assert inbox.timed_out
    assert not planner.claims


@pytest.mark.parametrize("timeout_s", [-1, 3601, float("nan")])
async def test_a_time_limit_out_of_range_is_refused(world, timeout_s):
    coder = await world.session("coder")

    with pytest.raises(BadInput, match="timeout_s"):
        await watch_inbox(coder, timeout_s=timeout_s)


async def test_a_thread_is_shown_whole_and_claims_nothing(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    for number, thread in enumerate(("talk", "other", "talk")):
        await send_task(planner, coder.me.id, f"{number}", "x", thread_id=thread)
    await read_inbox(coder, limit=1)

    inbox = await read_inbox(coder, thread_id="talk")

    assert [(item.task.subject, item.state) for item in inbox.tasks] == [
        ("0", "claimed"),
        ("2", "stored"),
    ]
    assert len(coder.claims) == 1


async def test_a_task_of_a_newer_sender_is_shown_and_treated_as_normal(world):
    coder = await world.session("coder")
    await world.bus.publish(
        subjects.task_subject(coder.me.id, "normal", "planner"),
        b'{"v":9,"id":"new-1","priority":"cosmic","payload":{"content":"hello"},"aura":7}',
    )

    [item] = (await read_inbox(coder)).tasks

    assert (item.task.priority, item.task.priority_given) == ("normal", "cosmic")


@pytest.mark.promise(15)
async def test_counting_what_waits_takes_nothing_away(world):
    """A listener only counts and hears; it must never win a task from a reader."""
    planner, coder = await world.session("planner"), await world.session("coder")
    heard: list[object] = []

    async with world.bus.subscribed(subjects.wake_subject(coder.me.id), heard.append):
        for number in range(10):
            await send_task(planner, coder.me.id, f"{number}", "x", priority="high")
            await world.bus.api(f"CONSUMER.INFO.{subjects.TASKS}.{coder.me.id}_high")
        read = await read_inbox(coder, limit=50)

    assert [item.task.subject for item in read.tasks] == [f"{number}" for number in range(10)]
    assert len(heard) == 10


async def test_a_claim_without_any_call_of_its_session_is_given_back(world, monkeypatch):
    monkeypatch.setattr("mcp_agentbus.handoff.presence.keeper.CLAIM_MAX_S", -1)
    monkeypatch.setattr("mcp_agentbus.store.roster.BEAT_S", 0.01)
    planner = await world.session("planner")
    idle = await world.session("coder", known=False)
    other = await world.session("coder")
    await send_task(planner, other.me.id, "Forgotten", "x")
    await read_inbox(idle)

    read = await watch_inbox(other, timeout_s=20)  # whose own claims go back at once as well

    assert {item.task.subject for item in read.tasks} == {"Forgotten"}
