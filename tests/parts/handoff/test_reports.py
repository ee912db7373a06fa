# SPDX-License-Identifier: Apache-2.0
"""What is told to who publishes on a task, whole, and who has the task then."""

import asyncio
import re
from datetime import timedelta

import pytest
from messages import read_record as record_on

from mcp_agentbus.core.text import now, stamp
from mcp_agentbus.errors import AlreadyEnded, NotClaimed, TooLarge, UnknownTask
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.reports.published import Published
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.handoff.shell_session import shell_session
from mcp_agentbus.handoff.shells import session_id
from mcp_agentbus.store import subjects
from mcp_agentbus.store.queries import read_back
from mcp_agentbus.store.records import read_record, read_sent, write_record
from mcp_agentbus.store.steps import step


async def sent(world, **options):
    """Return the sessions of sender and addressee, and the id of a task between them."""
    planner, coder = await world.session("planner"), await world.session("coder")
    [receipt] = await send_task(planner, coder.me.id, "Do it", "x", **options)
    return planner, coder, receipt.task_id


async def record_of(planner, coder, task_id):
    return await read_record(planner.bus, planner.me.id, coder.me.id, task_id)


async def test_each_step_is_told_and_the_same_again_as_no_new_one(world):
    planner, coder, task_id = await sent(world)
    await read_inbox(coder)

    async def told(session, status, **said):
        return [await publish_result(session, task_id, status, **said) for _ in range(2)]

    assert await told(coder, "working") == [Published(task_id, "working")] * 2
    assert await told(coder, "needs_input", body="?") == [
        Published(task_id, "needs_input"), Published(task_id, "needs_input", unchanged=True),
    ]  # fmt: skip
    assert await told(planner, "answered", body="!") == [
        Published(task_id, "needs_input", is_answer=True),
        Published(task_id, "needs_input", is_answer=True, unchanged=True),
    ]
    assert await told(coder, "released", body="x" * 501) == [
        Published(task_id, "stored", unkept=True),
        Published(task_id, "stored", unchanged=True, unkept=True),
    ]
    assert await publish_result(coder, task_id, "released") == Published(
        task_id, "stored", unchanged=True
    )
    await read_inbox(coder)
    assert await publish_result(coder, task_id, "released", body="x" * 500) == Published(
        task_id, "stored"
    )
    assert await told(coder, "completed") == [
        Published(task_id, "completed"), Published(task_id, "completed", unchanged=True),
    ]  # fmt: skip


async def test_a_worker_that_goes_on_keeps_room_for_the_end_of_its_task(world):
    planner, coder, task_id = await sent(world)
    await read_inbox(coder)
    much = {"body": "\x01" * (150 << 10)}

    with pytest.raises(TooLarge):
        await publish_result(coder, task_id, "working", **much)
    assert (await record_of(planner, coder, task_id))[0].state == "claimed"
    assert (await publish_result(coder, task_id, "completed", **much)).state == "completed"


async def test_of_two_answers_at_once_neither_is_lost(world):
    planner, coder, task_id = await sent(world)
    other = await world.session("planner")
    await read_inbox(coder)
    await publish_result(coder, task_id, "needs_input", body="?")

    both = (publish_result(each, task_id, "answered", body=each.id) for each in (planner, other))
    await asyncio.gather(*both)

    [item] = (await read_inbox(coder)).tasks
    assert {answer.body for answer in item.answers} == {planner.id, other.id}


async def test_a_withdrawal_is_told_and_the_same_again_as_no_new_one(world):
    planner, _, task_id = await sent(world)

    told = [await publish_result(planner, task_id, "cancelled") for _ in range(2)]

    assert told == [
        Published(task_id, "cancelled"),
        Published(task_id, "cancelled", unchanged=True),
    ]


async def test_of_a_second_reason_to_withdraw_it_is_told_that_it_is_not_stored(world):
    planner, _, task_id = await sent(world)
    whys = ["Not needed", "Not needed", "Done by hand", ""]

    told = [await publish_result(planner, task_id, "cancelled", body=why) for why in whys]

    assert [(each.unchanged, each.unkept) for each in told] == [
        (False, False), (True, False), (True, True), (True, False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "state"),
    [("completed", "completed"), ("rejected", "completed"), ("working", "claimed")],
)
async def test_of_a_word_it_is_told_that_nothing_is_to_be_answered_waiting_held_or_over(
    world, status, state
):
    _, coder, task_id = await sent(world, expect="nothing")
    waits = await publish_result(coder, task_id, status)
    await read_inbox(coder)
    held = await publish_result(coder, task_id, status)
    await read_inbox(coder)
    over = await publish_result(coder, task_id, status)

    of_each = {"unchanged": True, "is_word": True}
    assert waits == Published(task_id, "stored", **of_each)
    assert held == Published(task_id, state, unchanged=state == "claimed", is_word=True)
    assert over == Published(task_id, "completed", **of_each)


async def test_of_a_held_word_that_was_withdrawn_its_reader_is_told_that_it_is_over(world):
    planner, coder, task_id = await sent(world, expect="nothing")
    await read_inbox(coder)
    await publish_result(planner, task_id, "cancelled")

    told = await publish_result(coder, task_id, "completed")

    assert told == Published(task_id, "cancelled", unchanged=True, is_word=True)


async def test_what_comes_after_the_deadline_is_told_to_be_late_then_and_again(world, elapse):
    _, coder, task_id = await sent(world, expires_in_s=60)
    await read_inbox(coder)
    elapse(61)

    told = [await publish_result(coder, task_id, "completed") for _ in range(2)]

    assert told == [
        Published(task_id, "completed", late=True),
        Published(task_id, "completed", late=True, unchanged=True),
    ]


@pytest.mark.parametrize("status", ["working", "needs_input"])
async def test_who_goes_on_after_the_deadline_is_told_that_a_result_counts_as_late(
    world, elapse, status
):
    _, coder, task_id = await sent(world, expires_in_s=60)
    await read_inbox(coder)
    before = await publish_result(coder, task_id, status, summary="half?")
    elapse(61)

    told = [await publish_result(coder, task_id, status, summary=said) for said in ("half?", "?")]

    asks = status == "needs_input"
    assert before == Published(task_id, status)
    assert told == [
        Published(task_id, status, unchanged=asks, overdue=True),
        Published(task_id, status, overdue=True),
    ]


@pytest.mark.parametrize(
    ("meanwhile", "error"),
    [({"state": "cancelled", "session": ""}, AlreadyEnded), ({"session": "other"}, NotClaimed)],
)
async def test_what_is_no_longer_held_cannot_be_given_back(world, meanwhile, error):
    _, coder, task_id = await sent(world)
    await read_inbox(coder)
    claim = coder.claims[task_id]
    await write_record(world.bus, claim.record.model_copy(update=meanwhile), claim.revision)

    with pytest.raises(error):
        await publish_result(coder, task_id, "released")

    assert list(coder.claims) == []


async def test_what_has_ended_meanwhile_lies_in_the_inbox_no_more(world):
    planner, coder, task_id = await sent(world)
    await read_inbox(coder)
    claim = coder.claims[task_id]
    ended = step(claim.record, "expired", planner.me.id, "", now() - timedelta(seconds=1))
    await write_record(world.bus, ended, claim.revision)

    with pytest.raises(AlreadyEnded):
        await publish_result(coder, task_id, "working")

    assert task_id not in coder.claims
    assert await read_back.find(world.bus, claim.record) is None


async def test_what_a_shell_holds_a_session_reports_on_and_leaves_to_the_shell(world):
    planner, coder, task_id = await sent(world)
    folder = world.bus.settings.state_dir
    async with shell_session(world.bus, coder.me, folder) as shells:
        await read_inbox(shells)

    told = await publish_result(coder, task_id, "working")

    record, _ = await record_of(planner, coder, task_id)
    assert (told.state, record.state, record.session) == ("working", "working", shells.id)
    assert list(coder.claims) == []


@pytest.mark.parametrize("status", ["working", "completed"])
@pytest.mark.parametrize("only", [True, False], ids=["one for it alone", "any"])
async def test_what_nobody_holds_is_had_by_who_ends_it_or_is_there_for_it_else_by_a_shell(
    world, status, only
):
    planner, coder, task_id = await sent(world)

    async with Session(world.bus, coder.me, only=task_id if only else "") as session:
        await publish_result(session, task_id, status)
        record, _ = await record_of(planner, coder, task_id)
        held = list(session.claims)

    is_own = only or status == "completed"
    of_shell = session_id(coder.me.id, world.bus.settings.state_dir)
    assert record.session == (session.id if is_own else of_shell)
    assert held == [task_id] * (only and status == "working")


@pytest.mark.parametrize("last", ["completed", "working"])
async def test_of_two_tasks_that_others_gave_one_id_it_speaks_of_the_one_that_is_open(world, last):
    coder, first = await world.session("coder"), "working" if last == "completed" else "completed"
    for sender, state in (("a", first), ("b", last)):
        on = subjects.record_subject(world.name(sender), coder.me.id, world.name("t"))
        record = record_on(on=on, state=state, session="gone")
        await write_record(world.bus, record, 0)

    with pytest.raises(NotClaimed, match="is held by another session of coder"):
        await publish_result(coder, world.name("t"), "failed")


async def test_a_task_of_which_only_rubbish_is_written_is_not_known(world):
    coder, task_id = await world.session("coder"), world.name("t")
    on = subjects.record_subject(world.name("a"), coder.me.id, task_id)
    await world.bus.publish(on, b"rubbish")

    with pytest.raises(UnknownTask, match="was looked for among"):
        await publish_result(coder, task_id, "failed")


async def test_who_answers_what_is_scheduled_is_told_from_when_it_is_offered(world):
    planner, coder, task_id = await sent(world, deliver_in_s=60)
    kept, _ = await read_sent(world.bus, planner.me.id, coder.me.id, task_id)

    with pytest.raises(NotClaimed, match=f"from {re.escape(stamp(kept.deliver_at))} on") as early:
        await publish_result(coder, task_id, "completed")

    assert early.value.hint == "Call read_inbox then: it claims waiting tasks."
