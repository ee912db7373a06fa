# SPDX-License-Identifier: Apache-2.0
"""Questions of a task's worker, and what its sender answers on the same task.

    >>> await publish_result(coder, task_id, "needs_input", summary="Which branch?")
    >>> await publish_result(planner, task_id, "answered", body="main")
    >>> (await read_inbox(coder)).tasks[0].answers[0].body
    'main'

The answer stands in the sender's own record, so that it fences nobody, and whoever is offered the
task after its worker has died finds it there. The worker is given it until it has arrived; then its
record says that it goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core import text
from mcp_agentbus.core.aio import both, together
from mcp_agentbus.errors import AgentbusError, BadInput, Refused
from mcp_agentbus.handoff.call import Answered, Call, Given
from mcp_agentbus.handoff.claim import Claim
from mcp_agentbus.handoff.claims import Claims
from mcp_agentbus.handoff.intake.answer import Inbox, Item
from mcp_agentbus.store.asked.question import Question, of_record
from mcp_agentbus.store.asked.replies import Replies, to_question
from mcp_agentbus.store.records import read_sent, read_wakes
from mcp_agentbus.store.steps import Write, asked_in, question_of
from mcp_agentbus.store.task import ASKING, BODY_MAX_BYTES, Answer, Record, Sent

# Of answers to one question: more than anybody gives to what is asked once.
_ANSWERS_MAX: Final = 5


def answered(record: Record, given: str) -> Answer:
    """Return the answer to the question that a worker's record has now.

    Raises:
        Refused: nothing is asked.
        BadInput: it says nothing, or is larger than 64 KiB.
    """
    question = question_of(record)
    if question is None:
        raise Refused(
            f"Task {record.task_id} is {record.state}, and its worker has asked nothing that is "
            "still open. Nothing was stored.",
            hint="Send what you have to say as a task of its own, with in_reply_to.",
        )
    if not given.strip():
        raise BadInput("The answer is empty.", hint="Say it in the body.")
    body = text.check_size(given, "answer", BODY_MAX_BYTES)
    return Answer(question=question.at, at=text.now(), body=body)


def with_answer(sent: Sent, answer: Answer, revision: int) -> Write[Sent] | Sent:
    """Return what a sender keeps once it has answered; the same if it has said that before.

    Args:
        sent: what it has kept until now.
        answer: what it says.
        revision: the worker's record that asks, which counts as seen by who answers it.

    Raises:
        Refused: there are so many answers to this question that nobody has read.
    """
    same = [each for each in sent.answers if each.question == answer.question]
    if any(each.body == answer.body for each in same):
        return sent
    if len(same) >= _ANSWERS_MAX:
        raise Refused(
            f"{len(same)} answers to this question are stored. Nothing more was stored.",
            hint="They are shown to its worker at its next call.",
        )
    # What was said to earlier questions was read, or nobody asks for it any more.
    update = {
        "answers": (*same, answer),
        "seen_revision": max(sent.seen_revision, revision),
        "seen_at": text.now(),
    }
    return Write(sent.model_copy(update=update))


async def replied(bus: Bus, claims: Claims, claim: Claim) -> tuple[Replies, Given | None]:
    """Return what was said to a held task's question, and that its reader was given all of that.

    Raises: as `with_answers`.
    """
    replies = await to_question(bus, claim.record, claim.task)
    told = claims.answers.get(claim.task.id)
    return replies, told.given if told and told.mark == replies.mark and told.is_given else None


def unread(task_id: str) -> Refused:
    """Return the error of a step past replies that no answer has given its worker."""
    return Refused(
        f"What was asked about task {task_id} has a reply that this session was not shown. "
        "Nothing was stored.",
        hint="Call read_inbox: it shows the reply. Then report on the task.",
    )


async def missed(bus: Bus, claim: Claim, before: Replies) -> bool:
    """Tell whether more was said to a held task's question until its worker went on from that."""
    with suppress(AgentbusError):  # the step is stored all the same
        replies = await to_question(bus, claim.record, claim.task)
        return bool(replies) and replies.mark != before.mark
    return False


async def with_answers(bus: Bus, claims: Claims, by: Call | None, inbox: Inbox) -> Inbox:
    """Return an answer of the inbox with what senders have said to questions about held tasks.

    What was given and may have arrived, as `by` tells, is left out.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    told = await _told(bus, claims, by, claims.values())
    shown = {item.task.id for item in inbox.tasks}
    tasks = [_merged(item, told.get(item.task.id)) for item in inbox.tasks]
    more = [
        item
        for task_id, item in told.items()
        if (item.answers or item.decision) and task_id not in shown
    ]
    return await with_replies(bus, replace(inbox, tasks=(*tasks, *more)) if told else inbox)


async def with_replies(bus: Bus, inbox: Inbox) -> Inbox:
    """Return an answer of the inbox that says of which questions to its reader nobody waits.

    Raises: as `with_answers`.
    """
    asking = [record for record in inbox.results if question_of(record)]
    if not asking:
        return inbox
    asked = await together(*(_asked(bus, record) for record in asking))
    replied = {
        record.task_id: each
        for record, each in zip(asking, asked, strict=True)
        if each and not each.is_open
    }
    return replace(inbox, replied=replied)


async def _asked(bus: Bus, record: Record) -> Question | None:
    whose = record.asked_by or record.owner, record.inbox, record.task_id
    (sent, _), (wakes, _) = await both(read_sent(bus, *whose), read_wakes(bus, *whose))
    moments = wakes.moments if wakes else ()
    return of_record(bus.settings.state_dir, record, sent, moments)


async def with_questions(
    bus: Bus, claims: Claims, by: Call, items: Sequence[Item]
) -> tuple[Item, ...]:
    """Return items of held tasks with their questions and what was said to those.

    Also with one from which an earlier session has gone on that has not ended its task: whoever
    cannot look up a task's life, as a program cannot, is told that here.

    Raises: as `with_answers`.
    """
    held = {item.task.id: claims[item.task.id] for item in items}
    told = await _told(bus, claims, by, held.values())
    again = [item for item in items if item.attempt > 1 and item.task.id not in told]
    before = await together(*(_answered_before(bus, item, held[item.task.id]) for item in again))
    told |= {item.task.id: item for item in before}
    return tuple(_merged(item, told.get(item.task.id)) for item in items)


async def _answered_before(bus: Bus, item: Item, claim: Claim) -> Item:
    """Return a task with the question to which its sender has answered last, as it was noted."""
    record = claim.record
    sent, _ = await read_sent(bus, record.owner, record.inbox, record.task_id)
    asked = {step.at: step for step in record.history if step.state in ASKING}
    answers = tuple(answer for answer in (sent.answers if sent else ()) if answer.question in asked)
    if not answers:
        return item
    question = asked[answers[-1].question]
    return replace(item, question=question.note, asked_by=question.by, answers=answers)


async def _told(
    bus: Bus, claims: Claims, by: Call | None, some: Iterable[Claim]
) -> dict[str, Item]:
    """Return those of some claims whose worker has asked something, by id."""
    asking = [claim for claim in some if question_of(claim.record)]
    items = await together(*(_item(bus, claims, by, claim) for claim in asking))
    return {item.task.id: item for item in items if item}


def _merged(item: Item, told: Item | None) -> Item:
    """Return an item with a question and answers, which a line of a task that was given has not."""
    if told is None or (item.given_at and not (told.answers or told.decision)):
        return item
    return replace(told, new=item.new, given_at=item.given_at)


async def _item(bus: Bus, claims: Claims, by: Call | None, claim: Claim) -> Item | None:
    """Return a held task with its question, and the replies that its reader is to get."""
    task, record, question = claim.task, claim.record, question_of(claim.record)
    if question is None:
        return None
    replies = await to_question(bus, record, task)
    before, given = claims.answers.get(task.id), claims.given(task.id)
    if before and before.mark == replies.mark and _is_there(before, by):
        replies = Replies()
    elif replies:
        claims.answers[task.id] = Answered(replies.mark)
    return Item(
        task,
        record.state,
        record.attempts,
        question=asked_in(record),
        asked_by=question.by,
        answers=replies.answers,
        decision=replies.decision,
        given_at=given.at if given else None,
    )


def _is_there(told: Answered, by: Call | None) -> bool:
    """Tell whether its reader has it, or is about to get it, for all that call `by` tells."""
    given = told.given
    return given is not None and not (given.is_lost or given.is_doubtful(by))
