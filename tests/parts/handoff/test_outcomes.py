# SPDX-License-Identifier: Apache-2.0
"""What a session remembers of the tasks that it sent, and of the results that it was given."""

import pytest
from messages import read_record, read_task

from mcp_agentbus.bus.replies import Message
from mcp_agentbus.handoff.outcomes import Outcomes
from mcp_agentbus.handoff.turn import Calls
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
