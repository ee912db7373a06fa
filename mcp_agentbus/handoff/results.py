# SPDX-License-Identifier: Apache-2.0
"""Say how a task goes, and how it ended: once.

    >>> await publish_result(session, task_id, "completed", summary="214 tests")

The result is stored first and the task finished second, so a crash between the two costs nothing:
the next reader finds the result and finishes the task. A task has one end: every end is a write of
its one record that succeeds only if nobody else has written.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any, Unpack, cast

from mcp_agentbus.bus.budget import one_call
from mcp_agentbus.bus.replies import Conflict
from mcp_agentbus.core import ids, text
from mcp_agentbus.errors import AgentbusError, AlreadyEnded, NotClaimed
from mcp_agentbus.handoff.claim import Claim, by_record
from mcp_agentbus.handoff.dispatch import memory, outgoing
from mcp_agentbus.handoff.intake import arrivals, only
from mcp_agentbus.handoff.reports import entrusted, questions, refused
from mcp_agentbus.handoff.reports.details import Details, checked
from mcp_agentbus.handoff.reports.published import Published
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.handoff.shells import session_id
from mcp_agentbus.store import roster, subjects
from mcp_agentbus.store.asked import decisions
from mcp_agentbus.store.asked.replies import Replies
from mcp_agentbus.store.queries.clock import now_about
from mcp_agentbus.store.records import (
    Written,
    read_record,
    record_key,
    sent_key,
    update,
    with_room,
    write_sent,
)
from mcp_agentbus.store.steps import (
    Lost,
    Same,
    Step,
    Write,
    first_record,
    in_one,
    next_record,
    question_of,
    said_with,
)
from mcp_agentbus.store.task import (
    HELD,
    NOTE_MAX_CHARS,
    WORKER_ENDS,
    Record,
    Sent,
    State,
    Status,
)
from mcp_agentbus.store.upkeep import removal


@one_call
async def publish_result(
    session: Session, task_id: str, status: Status, **details: Unpack[Details]
) -> Published:
    """Store a status or the result of a task that this session holds, or cancel one it sent.

    A task of its agent that nobody holds is claimed by it as well: ended in one go, or else held as
    a shell holds one, so that a client which starts a server for each call goes on with it.

    Args:
        session: the worker's session; for `cancelled` and `answered` the sender's.
        task_id: a task that the session holds or that nobody does, or, for `cancelled`, one that
            its agent sent.
        status: `working`, `needs_input` and `needs_approval` keep the task, `released` gives it
            back to its inbox, `answered` is its sender's answer to a question, the others end it.
        details: see `Details`.

    Raises:
        BadInput: a value breaks its rule, or leaves no room for an end; nothing is cut.
        NotClaimed: the task is this agent's, but another session holds it.
        NotYourTask: it is somebody else's to finish or to cancel.
        UnknownTask: this agent neither sent nor received it.
        AlreadyEnded: it has another end; the message names it.
        Refused: it was answered, and asks nothing; or its question has a reply that the session
            was not shown.
        BusUnreachable, Unconfirmed, StoreFull, NotAllowed: as `Bus.publish`.
    """
    ids.task_id(task_id)
    changes = checked(status, details)
    if status == "cancelled" and await outgoing.withdrawn(session, task_id, changes):
        return Published(task_id, "cancelled")
    await session.called()
    async with session.lock:
        if status in {"cancelled", "answered"}:
            by_sender = _cancel if status == "cancelled" else _answer
            return await by_sender(session, task_id, changes)
        return await _by_worker(session, task_id, status, changes)


async def _by_worker(
    session: Session, task_id: str, status: Status, changes: dict[str, Any]
) -> Published:
    """Store what a task's worker says of it."""
    held = session.claims.get(task_id) or await _taken_up(session, task_id)
    if held is None and status in WORKER_ENDS:
        held = session.claims.expired.get(task_id)
    claim = held or await only.unheld(session, task_id, _holder(session, status))
    if claim is None:
        return await refused.not_held(session, task_id, status, changes)
    if claim.task.expect == "nothing":
        ends = held is not None and status in WORKER_ENDS  # its reader needs no more of it
        if ends and not await arrivals.end_word(session.bus, session.claims, claim):
            return await refused.not_held(session, task_id, status, changes)
        state: State = claim.record.state if held else "stored"  # else that was never written
        state = "completed" if ends else state
        return Published(task_id, state, unchanged=not ends, is_word=True)
    session.claims.named(task_id)
    if status == "released":
        note = in_one(changes)
        if held is None:
            return Published(task_id, "stored", unchanged=True, unkept=bool(note))
        why = "its worker released it"
        standing = await session.claims.give_back(claim, counts=True, reason=why, note=note)
        if standing and (standing.ended or standing.session):
            raise await _lost(session, claim, standing)
        memory.gone(session, claim)
        return Published(task_id, "stored", unkept=len(note) > NOTE_MAX_CHARS)
    if task_id not in session.claims:  # its client may start another server for the next call
        memory.remember(session, claim.task)
    return await _publish(session, claim, cast("State", status), changes)


async def _publish(
    session: Session, claim: Claim, state: State, changes: dict[str, Any]
) -> Published:
    """Write the record, then finish the task if this is its end."""
    task, state_dir = claim.task, session.bus.settings.state_dir
    decision = decisions.kept(state_dir, claim.record, task)
    reason = decisions.reason_after(claim.record, state, decision)
    replies, given = Replies(), None
    if state in HELD:
        replies, given = await entrusted.replied(session, claim)
    is_doubtful = given is not None and given.is_doubtful(None)
    wanted = Step(
        state,
        session.me.id,
        first=claim.record,
        session=claim.record.session,
        deadline=task.expires_at,
        changes={**changes, "reason": reason},
        anew=given is not None and not is_doubtful,
    )
    again = wanted.asks_again(claim.record)
    if replies and not (given or again):
        raise entrusted.unread(session, claim, replies)
    at = await now_about(session.bus, task.expires_at)
    overdue = at >= task.expires_at
    outcome: Written[Record] | Same | Lost = await update(
        session.bus,
        record_key(task.sender, task.to, task.id),
        lambda standing: with_room(next_record(standing, wanted, at)),
        known=None if again else (claim.record, claim.revision),  # read where that is the answer
    )
    if isinstance(outcome, Lost):
        raise await _lost(session, claim, outcome.record)
    if isinstance(outcome, Same) and not outcome.record.ended:
        await _found(session, claim, outcome.record)
        is_replied = bool(replies)
        return Published(task.id, state, unchanged=True, is_replied=is_replied, overdue=overdue)
    missed = state in HELD and await questions.missed(session.bus, claim, replies)
    decisions.forget(state_dir, claim.record)  # it has gone on from that
    if isinstance(outcome, Same):  # a call of ours had come this far without being confirmed
        return await _end(session, claim, outcome.record)
    if outcome.value.ended:
        return await _end(session, claim, outcome.value)
    is_long = len(said_with(changes)) > NOTE_MAX_CHARS
    await _go_on(session, claim.written(outcome.value, outcome.revision))
    passed = is_doubtful and not missed
    return Published(task.id, state, unkept=is_long, missed=missed, passed=passed, overdue=overdue)


async def _found(session: Session, claim: Claim, record: Record) -> None:
    """Hold a claim by the record that stands, which a call of ours may have written unconfirmed."""
    stands, revision = await read_record(session.bus, record.owner, record.inbox, record.task_id)
    if stands == record and revision != claim.revision:
        await _go_on(session, claim.written(record, revision))


async def _go_on(session: Session, claim: Claim) -> None:
    if claim.record.session == session.id:
        session.claims.hold(replace(claim, went_on=True))
    else:  # it outlives this session
        entrusted.note(session, claim.record)
    if not roster.is_lease(claim.record):
        with suppress(AgentbusError):  # the session's keeper says it again
            await session.bus.extend(claim.delivery)


async def _end(session: Session, claim: Claim, record: Record) -> Published:
    session.claims.end(claim.task)
    memory.gone(session, claim)
    with suppress(AgentbusError):  # the result is stored: whoever is offered the task finishes it
        await removal.finish(session.bus, claim.delivery)
    return Published(claim.task.id, record.state, late=record.late)


async def _lost(session: Session, claim: Claim, record: Record) -> AlreadyEnded | NotClaimed:
    """Let go of a claim that is no longer ours, and return the error that says whose it is."""
    session.claims.lose(claim, record)
    if record.ended:
        with suppress(AgentbusError):
            await removal.finish(session.bus, claim.delivery)
        return refused.ended(record)
    return NotClaimed(
        f"Task {claim.task.id} was taken over by another session while this one did not answer. "
        "Nothing was stored.",
        hint="Leave it to that session, or call read_inbox for other work.",
    )


async def _taken_up(session: Session, task_id: str) -> Claim | None:
    """Return the claim of a task that only its record knows to be this session's, or a shell's."""
    shell = session_id(session.me.id, session.bus.settings.state_dir)
    for inbox in session.inboxes:
        record, revision = await read_record(session.bus, "*", inbox, task_id)
        if record and record.session in {session.id, shell} and record.state in HELD:
            claim = await by_record(session.bus, record, revision)
            own = claim and record.session == session.id
            return session.claims.hold(claim) if claim and own else claim
    return None


def _holder(session: Session, status: Status) -> str:
    """Return who is to have a task that nobody held, and of which that is published.

    So that a task which is kept outlives this session, the shell's session has it: a client may
    start a server for each call.
    """
    if status in WORKER_ENDS or session.only:
        return session.id
    return session_id(session.me.id, session.bus.settings.state_dir)


async def _cancel(session: Session, task_id: str, changes: dict[str, Any]) -> Published:
    """Withdraw a task that this agent sent."""
    bus, me = session.bus, session.me.id
    sent, sent_revision = await session.outcomes.sent_records.read(task_id)
    if sent is None:
        raise await refused.not_sent(session, task_id, "withdraw")
    wanted = Step(
        "cancelled",
        me,
        first=first_record(sent),
        changes={**changes, "reason": "its sender withdrew it"},
    )
    outcome: Written[Record] | Same | Lost = await update(
        bus,
        record_key(me, sent.inbox, task_id),
        lambda standing: next_record(standing, wanted, text.now()),
    )
    if isinstance(outcome, Lost):
        raise refused.ended(outcome.record)
    if isinstance(outcome, Same):
        is_other = in_one(changes) not in {"", in_one(vars(outcome.record))}
        return Published(task_id, "cancelled", unchanged=True, unkept=is_other)
    session.outcomes.forget(task_id)
    with suppress(AgentbusError):  # whoever reads the inbox removes it
        await removal.remove(bus, sent)
    await _note_as_seen(session, sent, sent_revision, outcome.revision)
    return Published(task_id, "cancelled")


async def _answer(session: Session, task_id: str, changes: dict[str, Any]) -> Published:
    """Answer the question of the worker of a task that this agent sent."""
    bus, me = session.bus, session.me.id
    sent, _ = await session.outcomes.sent_records.read(task_id)
    if sent is None:
        raise await refused.not_sent(session, task_id, "answer")
    record, revision = await read_record(bus, me, sent.inbox, task_id)
    record = record or first_record(sent)
    if record.ended:
        raise refused.ended(record)
    answer = questions.answered(record, in_one(changes))

    def said(kept: Sent | None) -> Write[Sent] | Sent:
        return questions.with_answer(kept or sent, answer, revision)

    outcome = await update(bus, sent_key(me, sent.inbox, task_id), said)
    with suppress(AgentbusError):  # its worker looks by itself
        await bus.send(subjects.back_subject(sent.inbox), b"", {})
    if isinstance(outcome, Sent):
        return Published(task_id, record.state, unchanged=True, is_answer=True)
    with suppress(AgentbusError):  # it is stored, whatever its worker did meanwhile
        then, _ = await read_record(bus, me, sent.inbox, task_id)
        step = question_of(then) if then else None
        missed, record = step is None or step.at != answer.question, then or record
        return Published(task_id, record.state, is_answer=True, missed=missed)
    return Published(task_id, record.state, is_answer=True)


async def _note_as_seen(session: Session, sent: Sent, sent_revision: int, revision: int) -> None:
    """Who withdrew a task need not be told of its end."""
    seen = sent.model_copy(
        update={"seen_revision": revision, "seen_at": text.now(), "closed": True}
    )
    with suppress(Conflict, AgentbusError):  # then the end is shown like any other
        await write_sent(session.bus, seen, sent_revision)
