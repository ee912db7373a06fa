# SPDX-License-Identifier: Apache-2.0
"""Who may not do a thing to a task is told why, and what can be done instead."""

import pytest

from mcp_agentbus.errors import (
    AlreadyEnded,
    BadInput,
    NotClaimed,
    NotYourTask,
    UnknownAgent,
    UnknownTask,
)
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import roster, streams
from mcp_agentbus.store.records import write_record


async def refused(kind, call):
    with pytest.raises(kind) as refused:
        await call
    return refused.value


async def test_each_that_may_not_end_or_withdraw_a_task_is_told_what_to_do_instead(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    other, stranger = await world.session("coder"), await world.session("stranger")
    [sent] = await send_task(planner, coder.me.id, "Do it", "x", request_id="r1")
    task_id = sent.task_id
    await read_inbox(coder)

    by_sender = await refused(NotYourTask, publish_result(planner, task_id, "completed"))
    by_worker = await refused(NotYourTask, publish_result(coder, task_id, "cancelled"))
    by_other = await refused(NotClaimed, publish_result(other, task_id, "completed"))
    by_stranger = await refused(UnknownTask, publish_result(stranger, task_id, "completed"))
    withdrawn = await refused(UnknownTask, publish_result(stranger, task_id, "cancelled"))
    read = await refused(UnknownTask, task_life(stranger, task_id))

    assert f"only {coder.me.id} can answer it" in by_sender.message
    assert by_sender.hint == "To withdraw it, publish status 'cancelled'."
    assert by_worker.hint.startswith("Publish 'rejected' if you will not do it, or 'released'")
    assert by_other.message.startswith(f"Task {task_id} is held by session {coder.id} of coder")
    assert by_other.hint.startswith("Leave it to that session; if it dies, read_inbox offers")
    assert "what it prints on standard output, also what it has to ask" in by_other.hint
    assert by_stranger.message.endswith(f"; {planner.me.id} sent it to {coder.me.id}.")
    assert by_stranger.hint == f"A session of {coder.me.id} can answer it."
    assert withdrawn.hint == f"A session of {planner.me.id} can withdraw it."
    assert read.hint == f"A session of {planner.me.id} can read it."


async def test_a_sender_is_not_told_to_withdraw_a_task_that_is_over(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Do it", "x")
    await read_inbox(coder)
    await publish_result(coder, sent.task_id, "completed")

    over = await refused(AlreadyEnded, publish_result(planner, sent.task_id, "completed"))

    assert f"Task {sent.task_id} is over: completed by {coder.me.id}" in over.message


async def test_who_has_lost_a_task_to_another_session_is_told_to_leave_it(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Do it", "x")
    await read_inbox(coder)
    claim = coder.claims[sent.task_id]
    theirs = claim.record.model_copy(update={"session": "another"})
    await write_record(world.bus, theirs, claim.revision)

    lost = await refused(NotClaimed, publish_result(coder, sent.task_id, "working"))

    assert "was taken over by another session" in lost.message
    assert lost.hint == "Leave it to that session, or call read_inbox for other work."
    assert list(coder.claims) == []


async def test_who_sends_to_a_name_that_nobody_has_is_told_of_the_nearest(world):
    planner, coder = await world.session("planner"), await world.session("coder", roles=("review",))
    wrong = coder.me.id.replace("coder", "codr")

    agent = await refused(UnknownAgent, send_task(planner, wrong, "s", "b"))
    role = await refused(UnknownAgent, send_task(planner, "role:reviews", "s", "b"))

    assert agent.message == f"No agent {wrong!r} is registered. Nothing was sent."
    assert agent.hint.startswith(f"Nearest: {coder.me.id}")
    assert agent.hint.endswith(UnknownAgent.hint)
    assert role.message == "No registered agent holds 'role:reviews'. Nothing was sent."
    assert "role:review" in role.hint


async def test_who_uses_a_request_id_for_another_task_is_told_to_use_a_new_one(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    [first] = await send_task(planner, coder.me.id, "One", "x", request_id="r1")

    taken = await refused(
        BadInput, send_task(planner, coder.me.id, "Another", "x", request_id="r1")
    )

    assert first.task_id in taken.message
    assert taken.hint.startswith("Use a new request_id for each task")


async def test_who_waits_for_the_result_of_a_word_is_told_where_to_see_what_became_of_it(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    [word] = await send_task(planner, coder.me.id, "Done", "x", expect="nothing", request_id="r1")

    waits = await refused(BadInput, watch_inbox(planner, task_id=word.task_id, timeout_s=0))

    assert "no result of it comes" in waits.message
    assert waits.hint.startswith("Call task_life")


async def test_a_session_is_there_for_others_from_its_first_call_whatever_that_is(world):
    await streams.ensure_streams(world.bus)
    for number, call in enumerate(
        (
            lambda session: refused(UnknownTask, publish_result(session, "f" * 32, "completed")),
            lambda session: refused(UnknownTask, task_life(session, "f" * 32)),
            read_inbox,
            lambda session: watch_inbox(session, timeout_s=0),
            lambda session: refused(UnknownAgent, send_task(session, "nobody", "s", "b")),
        )
    ):
        session = await world.session(f"coder{number}", known=False)
        before = await roster.live_sessions(world.bus, session.me.id)
        await call(session)

        assert (before, await roster.live_sessions(world.bus, session.me.id)) == (
            set(), {session.id},
        )  # fmt: skip
