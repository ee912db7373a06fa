# SPDX-License-Identifier: Apache-2.0
"""Deadlines and withdrawals race with work: each task has one end, and both sides agree on it."""

import asyncio

import pytest

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import AlreadyEnded, Refused
from mcp_agentbus.handoff import outcomes
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.intake import watches
from mcp_agentbus.handoff.parked import parking, replay
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import codec, roster, subjects
from mcp_agentbus.store.queues import stored_tasks
from mcp_agentbus.store.records import read_record
from mcp_agentbus.store.task import ENDS

HANG_S = 60  # only a hang takes as long


@pytest.fixture
def quick_looks(monkeypatch):
    monkeypatch.setattr(watches, "LOOK_AGAIN_S", 0.2)


async def all_results(session, count):
    """Watch until so many results were shown; return them."""
    shown = []
    async with asyncio.timeout(HANG_S):
        while len(shown) < count:
            shown += (await watch_inbox(session, timeout_s=HANG_S)).results
    return shown


@pytest.mark.promise(35)
async def test_a_task_that_nobody_ever_read_expires_and_its_waiting_sender_is_told_once(
    world, quick_looks
):
    planner = await world.session("planner")
    absent = Agent(world.name("absent"))
    await roster.register(world.bus, absent, None)
    [sent] = await send_task(planner, absent.id, "Soon", "x", expires_in_s=1)

    [told] = (await watch_inbox(planner, task_id=sent.task_id, timeout_s=HANG_S)).results

    assert (told.task_id, told.state) == (sent.task_id, "expired")
    assert "deadline passed" in told.reason
    assert (await read_inbox(planner)).results == ()
    assert (await watch_inbox(planner, timeout_s=1)).timed_out


async def test_of_very_many_deadlines_a_look_takes_some_and_the_next_one_goes_on(
    world, elapse, monkeypatch
):
    monkeypatch.setattr(outcomes, "_BATCH", 2)
    monkeypatch.setattr(outcomes, "_SWEEP_BATCHES", 1)
    planner, coder = await world.session("planner"), await world.session("coder")
    for _ in range(3):
        await send_task(planner, coder.me.id, "Soon", "x", expires_in_s=1)
    await planner.close()
    elapse(2)

    another = await world.session("planner")
    first = (await read_inbox(another)).results
    second = (await read_inbox(another)).results

    assert [len(first), len(second)] == [2, 1]


@pytest.mark.promise(35)
async def test_a_task_read_too_late_expires_and_is_not_shown_to_its_reader(world, elapse):
    """The sender is away, so that the reader is the one who notices."""
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Soon", "x", expires_in_s=1)
    await planner.close()
    elapse(2)

    read = await read_inbox(coder)

    assert (read.tasks, read.waiting) == ((), {})
    record, _ = await read_record(world.bus, planner.me.id, coder.me.id, sent.task_id)
    assert (record.state, record.attempts) == ("expired", 0)
    back = await world.session("planner")
    [told] = await all_results(back, 1)
    assert (told.state, told.reason) == ("expired", "its deadline passed before anybody claimed it")


@pytest.mark.promise(35)
async def test_of_two_sessions_of_the_sender_only_the_one_that_sent_is_told(world, quick_looks):
    first, second = await world.session("planner"), await world.session("planner")
    absent = Agent(world.name("absent"))
    await roster.register(world.bus, absent, None)
    ids = [
        (await send_task(first, absent.id, f"{number}", "x", expires_in_s=1))[0].task_id
        for number in range(5)
    ]
    last = (await send_task(second, absent.id, "mine", "x", expires_in_s=1))[0].task_id

    told = await asyncio.gather(all_results(first, len(ids)), all_results(second, 1))

    assert sorted(record.task_id for record in told[0]) == sorted(ids)
    assert [record.task_id for record in told[1]] == [last]
    for session in (first, second):
        assert (await read_inbox(session)).results == ()


@pytest.mark.promise(35)
async def test_a_sweep_of_another_session_does_not_tell_twice(world, elapse):
    """The one that did not send is the first to notice."""
    first, second = await world.session("planner"), await world.session("planner")
    absent = Agent(world.name("absent"))
    await roster.register(world.bus, absent, None)
    [sent] = await send_task(first, absent.id, "Soon", "x", expires_in_s=1)
    second.outcomes.swept_at = None
    elapse(2)

    others = (await read_inbox(second)).results
    mine = (await watch_inbox(first, timeout_s=HANG_S)).results
    later = (await read_inbox(second)).results + (await read_inbox(first)).results

    assert [record.task_id for record in (*others, *mine, *later)] == [sent.task_id]
    assert [record.task_id for record in mine] == [sent.task_id]


@pytest.mark.promise(35)
@pytest.mark.parametrize("reads", [False, True])
async def test_a_late_result_is_stored_marked_late_and_told_after_the_expiry(world, elapse, reads):
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Soon", "x", expires_in_s=60)
    await read_inbox(coder)
    elapse(61)
    [expired] = (await watch_inbox(planner, task_id=sent.task_id, timeout_s=HANG_S)).results

    read = await read_inbox(coder) if reads else None
    with pytest.raises(AlreadyEnded):
        await publish_result(coder, sent.task_id, "working")
    if read:
        assert (read.tasks, read.held) == ((), 0)
        with pytest.raises(AlreadyEnded):
            await publish_result(coder, sent.task_id, "released")

    published = await publish_result(coder, sent.task_id, "completed", summary="at last")
    [late] = await all_results(planner, 1)

    assert (expired.state, expired.late) == ("expired", False)
    assert (published.state, published.late) == ("completed", True)
    assert (late.state, late.late, late.summary) == ("completed", True, "at last")
    with pytest.raises(AlreadyEnded):
        await publish_result(coder, sent.task_id, "failed")
    assert (await read_inbox(planner)).results == ()


@pytest.mark.promise(35)
async def test_a_result_after_the_deadline_that_nobody_noticed_yet_is_late_too(world, elapse):
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Soon", "x", expires_in_s=60)
    await read_inbox(coder)
    elapse(61)

    published = await publish_result(coder, sent.task_id, "completed")
    shown = await all_results(planner, 1)

    assert published.late
    assert [(one.task_id, one.state, one.late) for one in shown] == [
        (sent.task_id, "completed", True)
    ]
    assert (await read_inbox(planner)).results == ()


@pytest.mark.promise(32)
async def test_cancelling_and_completing_at_once_leaves_one_end_on_which_both_agree(world):
    """Many rounds, with either side some round trips to the server ahead."""
    planner, coder = await world.session("planner"), await world.session("coder")
    seen = set()
    for round_number in range(60):
        [sent] = await send_task(planner, coder.me.id, f"{round_number}", "x")
        await read_inbox(coder)

        async def after(trips, call):
            for _ in range(trips):
                await world.bus.api("INFO")
            return await call

        cancelled, completed = await asyncio.gather(
            after(
                max(round_number % 6 - 3, 0),
                publish_result(planner, sent.task_id, "cancelled"),
            ),
            after(max(3 - round_number % 6, 0), publish_result(coder, sent.task_id, "completed")),
            return_exceptions=True,
        )

        record, _ = await read_record(world.bus, planner.me.id, coder.me.id, sent.task_id)
        won = {"cancelled": cancelled, "completed": completed}
        lost = won.pop("completed" if record.state == "cancelled" else "cancelled")
        assert won[record.state].state == record.state
        assert isinstance(lost, AlreadyEnded)
        assert record.state in lost.message
        assert [step.state for step in record.history if step.state in ENDS] == [record.state]
        seen.add(record.state)

    assert seen == {"cancelled", "completed"}
    assert (await read_inbox(coder)).tasks == ()
    left = await stored_tasks(world.bus)
    assert not [subject for subject in left if subject.split(".")[1] == coder.me.id]


@pytest.mark.promise(35)
async def test_expiring_and_completing_at_once_leaves_one_story(world, elapse):
    """An end that comes after the expiry still counts, as late; the expiry never undoes an end."""
    planner, coder = await world.session("planner"), await world.session("coder")
    sent = []
    for number in range(20):
        sent += await send_task(planner, coder.me.id, f"{number}", "x", expires_in_s=60)
    await read_inbox(coder, limit=50)
    elapse(61)

    async with asyncio.timeout(HANG_S):
        outcome = await asyncio.gather(
            watch_inbox(planner, timeout_s=0, limit=50),
            *(publish_result(coder, one.task_id, "completed") for one in sent),
        )
    told = {record.task_id: record.state for record in outcome[0].results}
    while set(told.values()) != {"completed"} or len(told) < len(sent):
        for record in (await watch_inbox(planner, timeout_s=HANG_S, limit=50)).results:
            assert told.get(record.task_id, "expired") == "expired"
            told[record.task_id] = record.state

    assert all(published.late for published in outcome[1:])
    for one in sent:
        record, _ = await read_record(world.bus, planner.me.id, coder.me.id, one.task_id)
        assert (record.state, record.late) == ("completed", True)


async def test_a_parked_task_whose_deadline_has_passed_is_not_offered_again(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    await send_task(planner, coder.me.id, "Do it", "x")
    [item] = (await read_inbox(coder)).tasks
    over = item.task.model_copy(update={"expires_at": item.task.created_at})
    await world.bus.publish(
        subjects.dead_subject(coder.me.id, "normal", planner.me.id),
        codec.encode_task(over),
        codec.task_headers(over),
    )

    with pytest.raises(Refused, match="deadline"):
        await replay.replay(world.bus, [coder.me.id], over.id)

    assert len(await parking.parked(world.bus, coder.me.id)) == 1
