# SPDX-License-Identifier: Apache-2.0
"""What a session remembers of the tasks that it sent, and of the results that it was shown."""

import pytest
from messages import read_record, read_task

from mcp_agentbus.bus.replies import Message
from mcp_agentbus.handoff.outcomes import Outcomes, Shown

TASK = read_task()
SUBJECT = "agentbus.planner.results.coder.{}"


@pytest.fixture
def outcomes():
    return Outcomes(None, "planner", "session-1")


def shown(task_id):
    return Shown(read_record(on=SUBJECT.format(task_id), state="completed"), 1, None)


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
    [((), False), (("t1",), True), (("t1", "t2"), True), (("t1", "t3"), False)],
)
def test_results_are_shown_if_all_of_them_are(outcomes, asked, answer):
    outcomes.shown = {"t1": shown("t1"), "t2": shown("t2")}

    assert outcomes.has_shown(asked) is answer


@pytest.mark.promise(34)
def test_what_a_failed_answer_was_to_show_is_shown_later_and_what_was_shown_before_stays(outcomes):
    outcomes.shown = {"t1": shown("t1"), "t2": shown("t2")}
    before = dict(outcomes.shown)
    outcomes.shown |= {"t2": shown("t2"), "t3": shown("t3")}

    outcomes.hide(before)

    assert set(outcomes.shown) == {"t1"}
    assert outcomes.unread == {"t2", "t3"}
