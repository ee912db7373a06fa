# SPDX-License-Identifier: Apache-2.0
"""What a task's reader is told of what was asked about it and what was said to that, and when."""

from dataclasses import replace
from datetime import timedelta

import pytest
from exact_server import ExactServer
from planners_task import HOUR, KEPT_AT, SENT, TASK
from server_stand_in import NOON

from mcp_agentbus.bus.replies import Found
from mcp_agentbus.handoff.call import Answered, Calls, Given
from mcp_agentbus.handoff.claim import Claim
from mcp_agentbus.handoff.claims import Claims
from mcp_agentbus.handoff.intake.answer import Inbox, Item
from mcp_agentbus.handoff.reports.questions import (
    missed,
    replied,
    with_answers,
    with_questions,
    with_replies,
)
from mcp_agentbus.store import codec
from mcp_agentbus.store.asked import decisions
from mcp_agentbus.store.asked.decisions import Decision
from mcp_agentbus.store.asked.question import Question
from mcp_agentbus.store.steps import first_record, step
from mcp_agentbus.store.task import Answer, Moment, Wakes

MINUTE = timedelta(minutes=1)
CLAIMED = step(first_record(SENT), "claimed", "coder", "session-1", NOON - HOUR / 2, attempts=1)
ASKED_AT = NOON - HOUR / 4
SAID = {"attempts": 1, "summary": "Which branch?"}
ASKING = step(CLAIMED, "needs_input", "coder", "session-1", ASKED_AT, **SAID)
APPROVAL = step(CLAIMED, "needs_approval", "coder", "session-1", ASKED_AT, **SAID)
AGAIN_AT = ASKED_AT + 2 * MINUTE
ANSWER = Answer(question=ASKED_AT, at=ASKED_AT + MINUTE, body="main")
MARK = f"{ASKED_AT.timestamp():.6f}:1"
#: As a reader gets it that is not told anything of what is asked; and that is.
ITEM = Item(TASK, "needs_input", 1)
QUESTION = replace(ITEM, question="Which branch?", asked_by="coder")
ANSWERED = replace(QUESTION, answers=(ANSWER,))
DECISION = Decision(approved=True, note="only main", at=NOON)


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setattr("mcp_agentbus.core.text.now", lambda: NOON)
    return ExactServer(state_dir=tmp_path)


def keep(server, *answers):
    """Have the task's sender have said that."""
    sent = SENT.model_copy(update={"answers": answers})
    server.messages.append(Found(KEPT_AT, 21, NOON, {}, codec.encode_sent(sent)))


def holding(record):
    claims = Claims(None, "coder", "session-1")
    claims.hold(Claim(TASK, None, record, 20))
    return claims


async def test_what_was_answered_comes_to_who_holds_the_task_and_counts_as_told_once_it_is_given(
    server,
):
    keep(server, ANSWER)
    claims = holding(ASKING)

    assert await with_answers(server, claims, None, Inbox(held=1)) == Inbox((ANSWERED,), held=1)
    assert claims.answers == {"t1": Answered(MARK)}


async def test_who_was_given_the_task_before_is_given_the_answer_with_a_line_of_it(server):
    keep(server, ANSWER)
    claims = holding(ASKING)
    claims.give(["t1"], Calls().begin())

    inbox = await with_answers(server, claims, None, Inbox())
    assert inbox == Inbox((replace(ANSWERED, given_at=NOON),))


@pytest.mark.parametrize("how", [{"new": True}, {"given_at": NOON - MINUTE}], ids=str)
async def test_an_item_that_is_shown_has_question_and_answer_and_is_else_as_it_was(server, how):
    keep(server, ANSWER)
    shown = Inbox((replace(ITEM, **how),))

    inbox = await with_answers(server, holding(ASKING), None, shown)
    assert inbox == Inbox((replace(ANSWERED, **how),))


async def test_what_nobody_has_answered_is_told_with_the_whole_task_alone(server):
    given = replace(ITEM, given_at=NOON - MINUTE)
    for shown, told in (((), ()), ((ITEM,), (QUESTION,)), ((given,), (given,))):
        inbox = await with_answers(server, holding(ASKING), None, Inbox(shown))
        assert inbox == Inbox(told)


async def test_where_nothing_is_asked_all_is_as_it_was(server):
    keep(server, ANSWER)
    claims, shown = holding(CLAIMED), Inbox((ITEM,), timed_out=True)

    assert await with_answers(server, claims, None, shown) == shown
    assert claims.answers == {}


@pytest.mark.parametrize("how", [None, {}, {"given_at": NOON - MINUTE}], ids=str)
async def test_what_its_user_has_decided_is_told_as_an_answer_is(server, how):
    decisions.keep(server.settings.state_dir, APPROVAL, DECISION)
    item = replace(QUESTION, state="needs_approval", decision=DECISION)
    shown = () if how is None else (replace(ITEM, **how),)

    inbox = await with_answers(server, holding(APPROVAL), None, Inbox(shown))
    assert inbox == Inbox((replace(item, **(how or {})),))


@pytest.mark.parametrize("is_of_it", [True, False])
async def test_a_decision_is_told_with_the_text_alone_that_its_user_was_shown(server, is_of_it):
    """Its sender may put another text in the place of the first, under the same id."""
    shown = TASK if is_of_it else TASK.model_copy(update={"body": "Drop the tables."})
    decision = replace(DECISION, task=decisions.text_of(shown))
    decisions.keep(server.settings.state_dir, APPROVAL, decision)
    claims = holding(APPROVAL)

    [item] = (await with_answers(server, claims, None, Inbox((ITEM,)))).tasks

    assert item.decision == (decision if is_of_it else None)
    replies, _ = await replied(server, claims, claims[TASK.id])
    assert bool(replies) is is_of_it
    assert not await missed(server, claims[TASK.id], replies)


def arrived(calls, *, late=False, lost=False):
    """Return that an answer was given, by a call that was answered in time, late, or never."""
    call = calls.begin()
    if late:
        calls.begin()
    call.answered()
    if lost:
        call.lost()
    return Given(NOON, call)


@pytest.mark.parametrize(
    ("mark", "given", "again"),
    [
        (MARK, lambda _: Given(NOON), False),
        (MARK, arrived, False),
        (MARK, lambda calls: arrived(calls, late=True), True),
        (MARK, lambda calls: arrived(calls, lost=True), True),
        (MARK, lambda _: None, True),
        (f"{MARK}0", arrived, True),
    ],
    ids=["surely", "arrived", "doubtful", "lost", "not given", "to something else"],
)
async def test_what_was_answered_is_told_again_unless_it_has_arrived(server, mark, given, again):
    keep(server, ANSWER)
    claims, calls = holding(ASKING), Calls()
    before = claims.answers["t1"] = Answered(mark, given(calls))
    inbox = await with_answers(server, claims, calls.begin(), Inbox())

    assert inbox.tasks == ((ANSWERED,) if again else ())
    assert claims.answers == {"t1": Answered(MARK) if again else before}


async def test_of_a_question_to_its_reader_it_is_told_what_was_replied_to_it(server):
    keep(server, ANSWER)
    other = ASKING.model_copy(update={"task_id": "t2"})
    shown = Inbox(results=(ASKING, other, CLAIMED))

    replied = Question("needs_input", "coder", ASKED_AT, answered_at=ANSWER.at)
    assert await with_replies(server, shown) == replace(shown, replied={"t1": replied})


async def test_so_it_is_to_who_gets_the_result_besides_and_of_what_the_workers_user_decided(
    server,
):
    decided = Moment(state="approved", at=NOON, by="coder")
    wakes = Wakes(task_id="t1", owner="planner", inbox="coder", moments=(decided,))
    at = "agentbus.planner.wakes.coder.t1"
    server.messages.append(Found(at, 22, NOON, {}, codec.encode_wakes(wakes)))
    shown = Inbox(results=(APPROVAL.model_copy(update={"owner": "lead", "asked_by": "planner"}),))

    replied = Question("needs_approval", "coder", ASKED_AT, decided_at=NOON, approved=True)
    assert await with_replies(server, shown) == replace(shown, replied={"t1": replied})


async def test_where_no_result_asks_anything_nobody_is_asked(server):
    shown = Inbox(results=(CLAIMED,))

    assert await with_replies(server, shown) is shown
    assert server.asked == []


def went_on(record=ASKING):
    """Return the record of a task from whose question its worker went on, and died."""
    working = step(record, "working", "coder", "session-0", NOON, summary="At it")
    back = step(working, "stored", "coder", "", NOON)
    return step(back, "claimed", "coder", "session-1", NOON, attempts=2)


async def told(server, claims, item):
    [item] = await with_questions(server, claims, Calls().begin(), [item])
    return item


async def test_a_program_is_told_what_is_asked_and_answered_now(server):
    keep(server, ANSWER)

    assert await told(server, holding(ASKING), ITEM) == ANSWERED
    second = replace(ITEM, attempt=2)
    asking = ASKING.model_copy(update={"attempts": 2})
    assert await told(server, holding(asking), second) == replace(ANSWERED, attempt=2)


async def test_a_program_is_told_what_was_answered_to_an_earlier_try_of_its_task(server):
    keep(server, ANSWER, Answer(question=NOON, at=NOON, body="to nothing that was asked"))
    second = Item(TASK, "claimed", 2, new=True)

    before = replace(second, question="Which branch?", asked_by="coder", answers=(ANSWER,))
    assert await told(server, holding(went_on()), second) == before
    first = replace(second, attempt=1)
    assert await told(server, holding(went_on()), first) == first
    assert await told(server, holding(CLAIMED), second) == second


async def test_of_two_questions_it_is_told_the_last_that_was_answered_with_all_that_was(server):
    working = step(ASKING, "working", "coder", "session-1", AGAIN_AT - MINUTE)
    again = step(
        working, "needs_input", "tester", "session-0", AGAIN_AT, summary="Which commit?"
    )  # fmt: skip
    last = Answer(question=AGAIN_AT, at=AGAIN_AT, body="the last")
    keep(server, ANSWER, last)
    second = Item(TASK, "claimed", 2)

    told_of = await told(server, holding(went_on(again)), second)
    asked = {"question": "Which commit?", "asked_by": "tester", "answers": (ANSWER, last)}
    assert told_of == replace(second, **asked)


async def test_where_its_sender_has_kept_nothing_an_earlier_question_has_no_answer(server):
    second = Item(TASK, "claimed", 2)

    assert await told(server, holding(went_on()), second) == second
