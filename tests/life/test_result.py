# SPDX-License-Identifier: Apache-2.0
"""Results: stored once, told to their sender until seen, refused to everybody else."""

from __future__ import annotations

import asyncio

import pytest

from mcp_agentbus.errors import AlreadyEnded, BadInput, NotClaimed, NotYourTask, UnknownTask
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store.task import RESULT_MAX_BYTES


async def _handed_over(world, **options):
    """Return planner, coder and a task that coder has claimed."""
    planner, coder = await world.session("planner"), await world.session("coder")
    await send_task(planner, coder.me.id, "Do it", "please", **options)
    [item] = (await read_inbox(coder)).tasks
    return planner, coder, item.task


async def test_a_result_comes_back_to_the_sender(world):
    planner, coder, task = await _handed_over(world)

    await publish_result(
        coder, task.id, "completed", summary="done", body="all of it", artifacts=["a.txt"]
    )

    [result] = (await read_inbox(planner)).results
    assert (result.state, result.summary, result.body) == ("completed", "done", "all of it")
    assert result.artifacts == ("a.txt",)
    assert result.agent == coder.me.id
    assert (await read_inbox(coder)).empty


@pytest.mark.parametrize("status", ["completed", "failed", "rejected"])
async def test_every_end_of_a_worker_reaches_the_sender(world, status):
    planner, coder, task = await _handed_over(world)

    await publish_result(coder, task.id, status, summary="why")

    [result] = (await watch_inbox(planner, timeout_s=20)).results
    assert (result.task_id, result.state, result.summary) == (task.id, status, "why")


async def test_working_keeps_the_task_and_tells_the_sender_nothing_new(world):
    planner, coder, task = await _handed_over(world)

    await publish_result(coder, task.id, "working", progress=40, summary="reading")

    assert (await read_inbox(planner)).empty
    life = await task_life(planner, task.id)
    assert (life.state, life.record.progress, life.record.summary) == ("working", 40, "reading")
    [item] = (await read_inbox(coder)).tasks
    assert item.state == "working"


async def test_a_question_reaches_the_sender_and_the_task_goes_on(world):
    planner, coder, task = await _handed_over(world)

    await publish_result(coder, task.id, "needs_approval", summary="may I delete x?")
    [question] = (await read_inbox(planner)).results
    await publish_result(coder, task.id, "completed", summary="deleted x")
    [end] = (await read_inbox(planner)).results

    assert (question.state, end.state) == ("needs_approval", "completed")


async def test_waiting_for_a_result_returns_a_question_once_and_then_waits_for_the_end(world):
    planner, coder, task = await _handed_over(world)
    await publish_result(coder, task.id, "needs_approval", summary="may I?")

    [question] = (await watch_inbox(planner, task_id=task.id, timeout_s=20)).results
    again = await watch_inbox(planner, task_id=task.id, timeout_s=0.05)
    await publish_result(coder, task.id, "rejected", summary="then not")
    [end] = (await watch_inbox(planner, task_id=task.id, timeout_s=20)).results

    assert (question.state, again.timed_out, end.state) == ("needs_approval", True, "rejected")


@pytest.mark.promise(32)
async def test_the_same_result_again_changes_nothing(world):
    planner, coder, task = await _handed_over(world)
    result = {"summary": "done", "body": "x", "artifacts": ["a"]}
    first = await publish_result(coder, task.id, "completed", **result)
    before = (await task_life(planner, task.id)).record

    again = await publish_result(coder, task.id, "completed", **result)

    assert (first.unchanged, again.unchanged) == (False, True)
    assert (await task_life(planner, task.id)).record == before


@pytest.mark.promise(32)
@pytest.mark.parametrize(
    ("status", "body"), [("completed", "something else"), ("failed", "x"), ("working", "x")]
)
async def test_another_result_after_the_end_is_refused_and_names_the_stored_one(
    world, status, body
):
    _, coder, task = await _handed_over(world)
    await publish_result(coder, task.id, "completed", body="x")

    with pytest.raises(AlreadyEnded, match="completed") as refused:
        await publish_result(coder, task.id, status, body=body)

    assert "task_life" in refused.value.hint


@pytest.mark.promise(33)
async def test_only_the_addressee_can_answer(world):
    planner, _, task = await _handed_over(world)
    mallory = await world.session("mallory")

    with pytest.raises(UnknownTask):
        await publish_result(mallory, task.id, "completed", body="forged")
    with pytest.raises(NotYourTask, match="only coder"):
        await publish_result(planner, task.id, "completed", body="by myself")

    assert (await task_life(planner, task.id)).state == "claimed"


@pytest.mark.promise(33)
async def test_an_unknown_task_is_refused_and_says_where_it_was_looked_for(world):
    coder = await world.session("coder")

    with pytest.raises(UnknownTask, match="looked for"):
        await publish_result(coder, "0" * 32, "completed")


async def test_a_task_that_still_waits_for_its_time_is_nobodys_to_end(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    [receipt] = await send_task(planner, coder.me.id, "x", "y", deliver_in_s=600)

    with pytest.raises(NotClaimed) as refused:
        await publish_result(coder, receipt.task_id, "completed")

    assert "read_inbox" in refused.value.hint


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"task_id": "a.b"}, "not a task id"),
        ({"status": "done"}, "no status"),
        ({"summary": "x" * 2001}, "2,001 characters"),
        ({"body": "x" * (RESULT_MAX_BYTES + 1)}, "262,145 bytes"),
        ({"artifacts": ["x"] * 51}, "too many artifacts"),
        ({"artifacts": [5]}, "artifact is of type int"),
        ({"summary": 5}, "summary is of type int"),
        ({"body": None}, "body is of type NoneType"),
        ({"artifacts": ["x" * 1025]}, "too long"),
        ({"progress": 101}, "progress is 101"),
        ({"progress": -1}, "progress is -1"),
        ({"body": "\ud800"}, "surrogate"),
    ],
)
async def test_a_broken_rule_is_refused_and_the_task_stays_claimed(world, change, said):
    _, coder, task = await _handed_over(world)
    given = {"task_id": task.id, "status": "completed", **change}

    with pytest.raises(BadInput, match=said):
        await publish_result(coder, given.pop("task_id"), given.pop("status"), **given)

    assert (await task_life(coder, task.id)).state == "claimed"


async def test_a_result_of_full_size_comes_back_whole(world):
    planner, coder, task = await _handed_over(world)
    body = "x" * RESULT_MAX_BYTES

    await publish_result(coder, task.id, "completed", body=body)

    [result] = (await read_inbox(planner)).results
    assert result.body == body


@pytest.mark.promise(34)
async def test_a_result_is_shown_until_the_next_call_proves_that_it_was_seen(world):
    planner, coder, task = await _handed_over(world)
    await publish_result(coder, task.id, "completed")

    [shown] = (await read_inbox(planner)).results
    unseen = await task_life(coder, task.id)
    again = await read_inbox(planner)

    assert shown.task_id == task.id
    assert unseen.sent.seen_at is None
    assert again.results == ()
    assert (await task_life(coder, task.id)).sent.seen_at is not None


@pytest.mark.promise(34)
async def test_a_result_that_was_shown_to_a_session_that_died_is_shown_to_the_next(world):
    """Nothing marked it as seen, so the next session of the agent gets it."""
    planner, coder, task = await _handed_over(world)
    await publish_result(coder, task.id, "completed")
    [shown] = (await read_inbox(planner)).results
    later = await world.session("planner")
    while_it_lives = await read_inbox(later)
    await planner.close()

    [result] = (await read_inbox(later)).results

    assert while_it_lives.results == ()
    assert result.task_id == shown.task_id


async def test_peeking_marks_no_result_as_seen_and_no_claim_as_shown(world):
    planner, coder, task = await _handed_over(world)
    await publish_result(coder, task.id, "completed")
    await send_task(coder, planner.me.id, "A claim that no answer has shown", "x")
    answered = planner.calls.begin()
    await read_inbox(planner, limit=1, call=answered)
    answered.lost()

    for _ in range(3):
        peeked = await read_inbox(planner, peek=True)
        assert [result.task_id for result in peeked.results] == [task.id]
    await task_life(planner, task.id)

    assert (await task_life(planner, task.id)).sent.seen_at is None
    read = await watch_inbox(planner, timeout_s=0)
    assert [result.task_id for result in read.results] == [task.id]
    assert [item.new for item in read.tasks] == [True]


async def test_a_conversation_is_shown_whole_right_after_another_one(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    for thread in ("talk", "other"):
        await send_task(planner, coder.me.id, thread, "x", thread_id=thread)
    for item in (await read_inbox(coder)).tasks:
        await publish_result(coder, item.task.id, "completed", summary=item.task.subject)

    shown = [
        [result.summary for result in (await read_inbox(planner, thread_id=thread)).results]
        for thread in ("none", "talk", "other", "talk")
    ]

    assert shown == [[], ["talk"], ["other"], []]
    assert (await read_inbox(planner)).empty


@pytest.mark.promise(34)
async def test_a_result_waits_for_a_sender_that_is_away(world):
    planner, coder, task = await _handed_over(world)
    await planner.close()
    await publish_result(coder, task.id, "failed", summary="no")

    back = await world.session("planner")

    [result] = (await watch_inbox(back, timeout_s=20)).results
    assert (result.task_id, result.state) == (task.id, "failed")


async def test_a_result_goes_to_the_session_that_sent_the_task_while_it_lives(world):
    planner, coder, task = await _handed_over(world)
    other = await world.session("planner")
    await publish_result(coder, task.id, "completed")

    assert (await read_inbox(other)).results == ()
    [result] = (await read_inbox(planner)).results

    assert result.task_id == task.id


async def test_two_results_are_both_told(world):
    planner, coder, first = await _handed_over(world)
    [second] = await send_task(planner, coder.me.id, "And this", "x")
    await read_inbox(coder)
    await publish_result(coder, second.task_id, "completed")
    await publish_result(coder, first.id, "completed")

    results = (await read_inbox(planner)).results

    assert {one.task_id for one in results} == {first.id, second.task_id}


async def test_a_cancelled_task_is_not_offered_and_its_sender_is_not_told_of_its_own_word(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    [receipt] = await send_task(planner, coder.me.id, "Never mind", "x")

    cancelled = await publish_result(planner, receipt.task_id, "cancelled")

    assert cancelled.state == "cancelled"
    assert (await read_inbox(coder)).empty
    assert (await read_inbox(planner)).empty
    assert (await task_life(coder, receipt.task_id)).state == "cancelled"


async def test_cancelling_a_held_task_is_told_to_its_worker_and_refuses_the_result(world):
    planner, coder, task = await _handed_over(world)

    await publish_result(planner, task.id, "cancelled")

    with pytest.raises(AlreadyEnded, match="cancelled"):
        await publish_result(coder, task.id, "completed")


async def test_a_worker_learns_at_its_next_look_that_its_task_was_cancelled(world):
    planner, coder, task = await _handed_over(world)
    await publish_result(planner, task.id, "cancelled")

    inbox = await read_inbox(coder)

    assert inbox.tasks == ()
    assert any(task.id in note and "cancelled" in note for note in inbox.notes)


async def test_all_that_a_sender_says_of_its_cancelling_is_kept_and_nothing_of_its_worker(world):
    planner, coder, task = await _handed_over(world)
    await publish_result(coder, task.id, "working", body="Half of it", progress=50)

    said = {"summary": "No longer needed", "body": "See the other one", "artifacts": ["b.txt"]}
    await publish_result(planner, task.id, "cancelled", **said)

    record = (await task_life(coder, task.id)).record
    kept = (record.summary, record.body, record.artifacts, record.progress)
    assert kept == ("No longer needed", "See the other one", ("b.txt",), None)


async def test_a_finished_task_cannot_be_cancelled(world):
    planner, coder, task = await _handed_over(world)
    await publish_result(coder, task.id, "completed")

    with pytest.raises(AlreadyEnded, match="completed"):
        await publish_result(planner, task.id, "cancelled")


async def test_only_the_sender_cancels(world):
    _, coder, task = await _handed_over(world)

    with pytest.raises(NotYourTask) as refused:
        await publish_result(coder, task.id, "cancelled")

    assert "rejected" in refused.value.hint


async def test_cancelling_twice_changes_nothing(world):
    planner, _, task = await _handed_over(world)
    await publish_result(planner, task.id, "cancelled")

    assert (await publish_result(planner, task.id, "cancelled")).unchanged


@pytest.mark.promise(39)
async def test_artifacts_are_kept_as_they_are_and_nothing_opens_them(world, tmp_path):
    planner, coder, task = await _handed_over(world)
    fifo = tmp_path / "fifo"
    __import__("os").mkfifo(fifo)  # opening it would hang for ever
    references = [str(fifo), "file:///etc/passwd", "https://127.0.0.1:1/x", "$(reboot)"]

    async with asyncio.timeout(20):
        await publish_result(coder, task.id, "completed", artifacts=references)
        [result] = (await read_inbox(planner)).results

    assert list(result.artifacts) == references


async def test_one_artifact_is_no_list_of_its_letters(world):
    planner, coder, task = await _handed_over(world)

    await publish_result(coder, task.id, "completed", artifacts="src/total.py")

    [result] = (await read_inbox(planner)).results
    assert result.artifacts == ("src/total.py",)


async def test_a_task_s_life_is_told_from_both_sides(world):
    planner, coder, task = await _handed_over(world)
    await publish_result(coder, task.id, "working")
    await publish_result(coder, task.id, "completed", summary="ok")

    mine, theirs = await task_life(planner, task.id), await task_life(coder, task.id)

    states = [moment.state for moment in mine.record.history]
    assert states == ["stored", "claimed", "working", "completed"]
    assert mine.record == theirs.record


async def test_the_life_of_a_task_nobody_touched_is_stored(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    [receipt] = await send_task(planner, coder.me.id, "x", "y")

    assert (await task_life(planner, receipt.task_id)).state == "stored"
    assert (await task_life(coder, receipt.task_id)).state == "stored"


async def test_a_stranger_does_not_learn_of_a_task(world):
    _, _, task = await _handed_over(world)
    mallory = await world.session("mallory")

    with pytest.raises(UnknownTask):
        await task_life(mallory, task.id)
    with pytest.raises(UnknownTask):
        await watch_inbox(mallory, task_id=task.id, timeout_s=5)
