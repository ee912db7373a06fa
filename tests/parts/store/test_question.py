# SPDX-License-Identifier: Apache-2.0
"""What is asked by the steps of a task: until its worker goes on, whoever has the task by then."""

from datetime import UTC, datetime, timedelta

import pytest

from mcp_agentbus.store.asked import decisions
from mcp_agentbus.store.asked.decisions import Decision
from mcp_agentbus.store.asked.question import Question, of_record, of_steps
from mcp_agentbus.store.steps import first_record
from mcp_agentbus.store.task import Answer, Moment, Sent

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def steps(written):
    """Return the steps of a task, a minute each, all by coder."""
    return [
        Moment(state=state, at=NOON + timedelta(minutes=number), by="coder")
        for number, state in enumerate(written.split())
    ]


@pytest.mark.parametrize(
    ("written", "is_open"),
    [
        ("stored claimed needs_input", True),
        ("stored claimed needs_input stored", True),
        ("stored claimed needs_input stored claimed", True),
        ("stored claimed needs_input answered", False),
        ("stored claimed needs_approval decided stored", False),
        ("stored claimed needs_approval answered", True),  # a peer's word approves nothing
        ("stored claimed needs_input answered needs_input", True),
    ],
)
def test_a_question_is_open_until_somebody_replies_to_this_very_one(written, is_open):
    assert of_steps(steps(written)).is_open is is_open


@pytest.mark.parametrize(
    "written",
    ["stored claimed", "stored claimed needs_input working", "stored claimed needs_input expired"],
)
def test_it_is_none_once_its_worker_went_on_or_its_task_is_over(written):
    assert of_steps(steps(written)) is None


def test_what_nobody_can_have_asked_is_none():
    assert of_steps([Moment(state="needs_input", at=NOON, by="no agent\n")]) is None


def at(minute):
    return NOON + timedelta(minutes=minute)


SENT = Sent(task_id="t1", owner="planner", inbox="coder", created_at=NOON, expires_at=at(60))


def record(written):
    """Return a task's record with these steps."""
    history = tuple(steps(written))
    return first_record(SENT).model_copy(update={"state": history[-1].state, "history": history})


@pytest.mark.parametrize(
    ("written", "question", "replied_at", "verdict"),
    [
        (
            "stored claimed needs_input answered",
            Question("needs_input", "coder", at(2), answered_at=at(3)),
            at(3),
            "decided",
        ),
        (
            "stored claimed needs_approval approved answered stored",
            Question("needs_approval", "coder", at(2), at(4), at(3), approved=True),
            at(3),
            "approved",
        ),
        (
            "stored needs_approval approved denied",
            Question("needs_approval", "coder", at(1), None, at(3), approved=False),
            at(3),
            "DENIED",
        ),
        (
            "stored needs_approval decided",
            Question("needs_approval", "coder", at(1), None, at(2), approved=None),
            at(2),
            "decided",
        ),
        (
            "needs_input answered approved needs_approval stored",
            Question("needs_approval", "coder", at(3)),
            None,
            "decided",
        ),
    ],
)
def test_a_question_has_the_last_replies_to_it_and_none_from_before(
    written, question, replied_at, verdict
):
    asked = of_steps(steps(written))

    assert (asked, asked.replied_at, asked.verdict) == (question, replied_at, verdict)


def test_a_reply_of_the_same_moment_is_one_to_it():
    moments = [Moment(state=each, at=NOON, by="coder") for each in ("needs_input", "answered")]

    assert of_steps(moments) == Question("needs_input", "coder", NOON, answered_at=NOON)


def test_of_a_record_the_answers_to_this_question_count_and_the_latest_is_its_reply(tmp_path):
    answers = [Answer(question=at(each), at=at(4 + each), body="x") for each in (1, 2, 2)]
    answers[1] = answers[1].model_copy(update={"at": at(5)})
    sent = SENT.model_copy(update={"answers": tuple(answers)})
    asks = record("stored claimed needs_input stored")
    expected = Question("needs_input", "coder", at(2), answered_at=at(6))

    assert of_record(tmp_path, asks, sent) == expected
    assert of_record(tmp_path, asks, None) == Question("needs_input", "coder", at(2))
    assert of_record(tmp_path, record("stored claimed working"), sent) is None


def test_of_a_record_what_listeners_know_of_its_users_decision_counts_as_well(tmp_path):
    asks = record("stored claimed needs_approval")
    wakes = [Moment(state="woken", at=at(3), by="coder"), Moment(state="denied", at=at(4), by="x")]

    asked = of_record(tmp_path, asks, SENT, wakes)

    assert asked == Question("needs_approval", "coder", at(2), None, at(4), approved=False)


@pytest.mark.parametrize(
    ("state", "decided_at", "question"),
    [
        ("needs_approval", None, Question("needs_approval", "coder", at(1))),
        ("needs_approval", at(0), Question("needs_approval", "coder", at(1))),
        ("needs_approval", at(2), Question("needs_approval", "coder", at(1), None, at(2), True)),
        ("needs_input", at(2), Question("needs_input", "coder", at(1))),
    ],
)
def test_what_this_user_has_decided_since_is_its_reply_where_it_asks_for_that(
    tmp_path, state, decided_at, question
):
    asks = record(f"stored {state}")
    if decided_at:
        decisions.keep(tmp_path, asks, Decision(approved=True, note="", at=decided_at))

    assert of_record(tmp_path, asks, None) == question
