# SPDX-License-Identifier: Apache-2.0
"""What a session reads that was started for one task alone."""

import pytest

from mcp_agentbus.core.text import now
from mcp_agentbus.errors import Refused
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.intake import only
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store.asked import decisions
from mcp_agentbus.store.asked.decisions import Decision
from mcp_agentbus.store.records import read_record


async def test_it_holds_that_task_reads_it_again_and_waits_for_what_is_new_of_it(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Do it", "x")

    async with Session(world.bus, coder.me, only=sent.task_id) as session:
        reads = [await read_inbox(session) for _ in range(2)]
        waited = await watch_inbox(session, timeout_s=0)

    assert [(item.task.id, item.new) for item in reads[0].tasks] == [(sent.task_id, True)]
    assert [(item.task.id, item.new) for item in reads[1].tasks] == [(sent.task_id, False)]
    assert (waited.tasks, waited.timed_out) == ((), True)
    assert [inbox.held for inbox in (*reads, waited)] == [1, 1, 1]


async def test_a_wait_ends_with_that_task_if_nobody_knows_whether_the_answer_with_it_arrived(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Do it", "x")

    async with Session(world.bus, coder.me, only=sent.task_id) as session:
        first, waits = session.calls.begin(), session.calls.begin()
        await read_inbox(session, call=first)
        first.answered()  # after the other came: it may have been given up
        waited = await watch_inbox(session, timeout_s=0, call=waits)

    [item] = waited.tasks
    assert (item.task.id, item.new, item.given_at is None) == (sent.task_id, False, False)


async def test_it_ends_that_task_and_is_told_then_that_it_is_over(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Do it", "x")

    async with Session(world.bus, coder.me, only=sent.task_id) as session:
        await read_inbox(session)
        _, revision = await read_record(world.bus, planner.me.id, coder.me.id, sent.task_id)
        known = session.claims[sent.task_id].revision
        ended = await publish_result(session, sent.task_id, "completed")
        after = await read_inbox(session)

    assert known == revision
    assert (ended.state, after.tasks, after.held) == ("completed", (), 0)
    [note] = after.notes
    assert note.startswith(f"Task {sent.task_id} is over: completed.")


async def test_what_another_session_holds_and_what_is_nowhere_is_said_to_be_so(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Do it", "x")
    await read_inbox(coder)

    said = []
    for task_id in (sent.task_id, "f" * 32):
        async with Session(world.bus, coder.me, only=task_id) as session:
            said += (await read_inbox(session)).notes

    assert [note.partition(". ")[0] for note in said] == [
        f"Task {sent.task_id} is held by another session, and is left to that",
        f"Task {'f' * 32} waits in no inbox of {coder.me.id}",
    ]
    assert [item.task.id for item in (await read_inbox(coder)).tasks] == [sent.task_id]


@pytest.mark.parametrize("is_of_it", [True, False])
async def test_it_gets_no_other_text_than_its_user_was_shown(world, is_of_it):
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Do it", "x")
    async with Session(world.bus, coder.me) as before:
        [item] = (await read_inbox(before)).tasks
        await publish_result(before, sent.task_id, "needs_approval", summary="Really?")
    record, _ = await read_record(world.bus, planner.me.id, coder.me.id, sent.task_id)
    shown = decisions.text_of(item.task) if is_of_it else "another"
    decision = Decision(approved=True, note="", at=now(), task=shown)
    decisions.keep(world.bus.settings.state_dir, record, decision)

    async with Session(world.bus, coder.me, only=sent.task_id) as session:
        read = await read_inbox(session)
        life = await task_life(session, sent.task_id)

    assert (life.task is None, life.sent is None) == (not is_of_it, not is_of_it)
    assert [each.decision for each in read.tasks] == [decision] * is_of_it
    assert len(read.notes) == (not is_of_it)
    assert all(f"Task {sent.task_id} has another text" in note for note in read.notes)


async def test_whatever_else_it_asks_for_is_refused(world):
    coder = await world.session("coder")

    async with Session(world.bus, coder.me, only="f" * 32) as session:
        for options in ({"peek": True}, {"thread_id": "release-7"}):
            with pytest.raises(Refused, match="for task ffffff"):
                await read_inbox(session, **options)
        assert only.meant(session, "ffffff") == "f" * 32
        for written in ("", "ffffff0"):
            with pytest.raises(Refused) as refused:
                only.meant(session, written)
            assert refused.value.hint.startswith("Call read_inbox for it")
