# SPDX-License-Identifier: Apache-2.0
"""What a sender may say to a question of its worker, and what of it stays."""

from datetime import UTC, datetime, timedelta

import pytest
from messages import read_record, read_sent

from mcp_agentbus.errors import BadInput, Refused
from mcp_agentbus.handoff.reports.questions import answered, with_answer
from mcp_agentbus.store.steps import Write
from mcp_agentbus.store.task import Answer, Moment

AT = datetime(2026, 5, 18, 10, 0, tzinfo=UTC)
BEFORE = AT - timedelta(hours=1)
ASKED = read_record().model_copy(
    update={"state": "needs_input", "history": (Moment(state="needs_input", at=AT, by="coder"),)}
)


def said(body, to=AT):
    return Answer(question=to, at=to, body=body)


def sent(*answers, seen=0):
    return read_sent().model_copy(update={"answers": answers, "seen_revision": seen})


def test_an_answer_names_the_question_to_which_it_is_given():
    answer = answered(ASKED, " main ")

    assert (answer.question, answer.body) == (AT, " main ")
    assert answer.at > AT


@pytest.mark.parametrize("given", ["", " \n"])
def test_an_answer_that_says_nothing_is_refused(given):
    with pytest.raises(BadInput, match="The answer is empty"):
        answered(ASKED, given)


def test_an_answer_may_be_as_long_as_a_task():
    assert answered(ASKED, "x" * 65_536).body
    with pytest.raises(BadInput, match="The answer has 65,537 bytes"):
        answered(ASKED, "x" * 65_537)


def test_where_nothing_is_asked_nothing_can_be_answered():
    with pytest.raises(Refused, match="is working, and its worker has asked nothing") as refused:
        answered(read_record(), "main")

    assert "in_reply_to" in refused.value.hint


@pytest.mark.parametrize(("seen", "revision", "then"), [(3, 7, 7), (9, 7, 9)])
def test_who_has_answered_a_question_has_seen_it_and_what_was_said_to_earlier_ones_goes(
    seen, revision, then
):
    before = sent(said("of before", BEFORE), said("main"), seen=seen)

    write = with_answer(before, said("or dev"), revision)

    assert isinstance(write, Write)
    assert write.value.answers == (said("main"), said("or dev"))
    assert (write.value.seen_revision, write.value.seen_at > AT) == (then, True)


def test_the_same_answer_again_is_stored_once_and_to_another_question_anew():
    before = sent(said("main", BEFORE), said("dev"))

    assert with_answer(before, said("dev"), 7) is before
    assert with_answer(before, said("main"), 7).value.answers == (said("dev"), said("main"))


def test_more_answers_than_anybody_gives_to_one_question_are_refused():
    five = [said(f"{number}") for number in range(5)]

    assert len(with_answer(sent(*five[:4]), said("5th"), 7).value.answers) == 5
    with pytest.raises(Refused, match="5 answers to this question are stored"):
        with_answer(sent(*five), said("6th"), 7)
