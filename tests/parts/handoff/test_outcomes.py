# SPDX-License-Identifier: Apache-2.0
"""What a session remembers of the tasks that it sent, and of the results that it was given."""

import pytest
from messages import read_record, read_task

from mcp_agentbus.bus.replies import Message
from mcp_agentbus.handoff.call import Calls
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.outcomes import Outcomes
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import subjects
from mcp_agentbus.store.unseen import Unseen

TASK = read_task()
SUBJECT = "agentbus.planner.results.coder.{}"


@pytest.fixture
def outcomes():
    return Outcomes(None, "planner", "session-1")


def unseen(task_id, revision=1):
    return Unseen(read_record(on=SUBJECT.format(task_id), state="completed"), revision)


def test_an_outcome_is_awaited_from_before_its_task_is_stored(outcomes):
    with outcomes.awaiting(TASK):
        outcomes.heard(Message(SUBJECT.format(TASK.id), b""))
        is_stored = outcomes.sent[TASK.id].is_stored

    assert (is_stored, outcomes.sent[TASK.id].is_stored) == (False, True)
    assert outcomes.sent[TASK.id].inbox == "coder"
    assert outcomes.unread == {TASK.id}


def test_no_outcome_is_awaited_of_a_task_that_could_not_be_stored(outcomes):
    with pytest.raises(OSError, match="full"), outcomes.awaiting(TASK):
        raise OSError("full")

    assert outcomes.sent == {}


def test_a_record_of_another_sessions_task_is_nothing_to_read(outcomes):
    outcomes.heard(Message(SUBJECT.format("t9"), b""))

    assert outcomes.unread == set()


def test_after_a_gap_every_task_may_have_an_outcome(outcomes):
    for task_id in ("t1", "t2"):
        with outcomes.awaiting(read_task(id=task_id)):
            pass
    outcomes.forget("t2")
    outcomes.heard(None)

    assert outcomes.unread == {"t1"}


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ((), ()),
        (("t1",), ("t1",)),
        (("t1", "t2"), ("t1", "t2")),
        (("t2", "t3"), ("t2",)),
        (("t4",), ()),
    ],
)
def test_results_are_shown_if_an_answer_has_them(outcomes, asked, answer):
    results = [outcomes.take(unseen(task_id)) for task_id in ("t1", "t2", "t4")]
    outcomes.give([result.record for result in results[:2]], Calls().begin())

    assert outcomes.shown(asked) == set(answer)


def test_what_is_shown_can_be_asked_while_another_thread_takes_results(outcomes):
    class TakenMeanwhile:
        @property
        def is_new(self):
            outcomes.take(unseen("t2"))
            return False

    outcomes.taken["t1"] = TakenMeanwhile()

    assert outcomes.shown(["t1", "t2"]) == {"t1"}


@pytest.mark.promise(34)
async def test_what_a_lost_answer_had_is_new_and_what_may_not_have_arrived_is_named(outcomes):
    calls = Calls()
    lost, given_up, later = calls.begin(), calls.begin(), calls.begin()
    for task_id, call in (("t1", lost), ("t2", given_up)):
        outcomes.give([outcomes.take(unseen(task_id)).record], call)
    lost.lost()
    given_up.answered()
    await outcomes.confirm(calls.begin())

    assert [outcomes.taken[task_id].is_new for task_id in ("t1", "t2")] == [True, False]
    assert outcomes.doubtful(later) == []
    [doubtful] = outcomes.doubtful(calls.begin())
    assert doubtful.record.task_id == "t2"


async def test_a_result_that_nobody_was_given_is_given_back_and_no_other(outcomes):
    given, taken = (outcomes.take(unseen(task_id)).record for task_id in ("t1", "t2"))
    outcomes.give([given], Calls().begin())

    for record in (given, taken):
        await outcomes.give_back(record)

    assert set(outcomes.taken) == {"t1"}
    assert outcomes.unread == {"t2"}


def test_a_newer_record_of_a_task_is_to_be_given_again(outcomes):
    outcomes.give([outcomes.take(unseen("t1")).record], Calls().begin())

    assert not outcomes.take(unseen("t1")).is_new
    assert outcomes.take(unseen("t1", revision=2)).is_new


async def test_a_task_is_awaited_beyond_its_workers_question_until_its_end(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Do it", "x")
    await read_inbox(coder)

    await publish_result(coder, sent.task_id, "needs_input", summary="Which branch?")
    [asked] = (await read_inbox(planner)).results
    still = set(planner.outcomes.sent)
    await publish_result(coder, sent.task_id, "completed")
    await read_inbox(planner)

    assert (asked.state, still) == ("needs_input", {sent.task_id})
    assert planner.outcomes.sent == {}


async def test_another_session_waits_for_the_result_of_what_nobody_has_kept_or_touched(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    other = await world.session("planner")
    await read_inbox(other)  # with the look of this minute at all that its agent has sent
    [sent] = await send_task(planner, coder.me.id, "Do it", "x", request_id="r1")
    kept = subjects.sent_subject(planner.me.id, coder.me.id, sent.task_id)
    await world.bus.api(f"STREAM.PURGE.{subjects.RESULTS}", {"filter": kept})

    waited = await watch_inbox(other, task_id=sent.task_id, timeout_s=0)
    await read_inbox(coder)
    await publish_result(coder, sent.task_id, "completed")

    assert waited.timed_out
    [result] = (await watch_inbox(other, task_id=sent.task_id, timeout_s=0)).results
    assert (result.task_id, result.unasked) == (sent.task_id, False)
