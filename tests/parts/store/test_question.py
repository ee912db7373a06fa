# SPDX-License-Identifier: Apache-2.0
"""What is asked by the steps of a task: until its worker goes on, whoever has the task by then."""

from datetime import UTC, datetime, timedelta

import pytest

from mcp_agentbus.store.asked.question import of_record, of_steps
from mcp_agentbus.store.task import Answer, Moment, Record, Sent

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
    ("replies", "verdict"),
    [
        ("approved", "approved"),
        ("denied", "DENIED"),
        ("decided", "decided"),
        ("", "decided"),
        ("approved answered denied", "DENIED"),  # the last word counts
        ("denied approved", "approved"),
    ],
)
def test_what_its_user_has_decided_is_said_as_a_verb(replies, verdict):
    assert of_steps(steps(f"stored claimed needs_approval {replies}")).verdict == verdict


@pytest.mark.parametrize(
    "written",
    ["stored claimed", "stored claimed needs_input working", "stored claimed needs_input expired"],
)
def test_it_is_none_once_its_worker_went_on_or_its_task_is_over(written):
    assert of_steps(steps(written)) is None


def test_what_nobody_can_have_asked_is_none():
    assert of_steps([Moment(state="needs_input", at=NOON, by="no agent\n")]) is None


@pytest.mark.parametrize(
    ("asked_at", "answered_at"),
    [
        (None, None),  # its sender has kept nothing
        (NOON + timedelta(minutes=1), None),  # another question of before
        (NOON + timedelta(minutes=2), NOON + timedelta(minutes=5)),
    ],
)
def test_an_answer_of_its_sender_is_to_the_very_question_that_it_names(
    tmp_path, asked_at, answered_at
):
    names = {"task_id": "t1", "owner": "planner", "inbox": "coder"}
    history = tuple(steps("stored claimed needs_input"))
    record = Record(**names, state="needs_input", agent="coder", updated_at=NOON, history=history)
    sent = asked_at and Sent(
        **names, created_at=NOON, expires_at=NOON,
        answers=(Answer(question=asked_at, at=NOON + timedelta(minutes=5), body="x"),),
    )  # fmt: skip

    question = of_record(tmp_path, record, sent)

    assert (question.answered_at, question.is_open) == (answered_at, answered_at is None)
