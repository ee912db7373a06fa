# SPDX-License-Identifier: Apache-2.0
"""Why what an agent publishes of a task cannot be stored: it is not its to say, or it is over.

>>> raise not_sent(...)
NotYourTask: Task 9d0c... was sent by another agent. Hint: Publish 'rejected' if ...
"""

from __future__ import annotations

from typing import Any

from mcp_agentbus.core import ids, text
from mcp_agentbus.errors import AgentbusError, AlreadyEnded, NotClaimed, NotYourTask, UnknownTask
from mcp_agentbus.handoff.reports.published import Published
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.handoff.views.whose import unknown_task
from mcp_agentbus.store import subjects
from mcp_agentbus.store.queries.clock import has_come
from mcp_agentbus.store.records import lasts, read_record, read_sent, record_in
from mcp_agentbus.store.task import Record, Sent, Status


async def not_held(
    session: Session, task_id: str, status: Status, changes: dict[str, Any]
) -> Published:
    """Say why a task cannot be answered here, or that it has this very answer."""
    records = await _records_in_inboxes(session, task_id)
    if not records:
        raise await _without_record(session, task_id)
    texts = {key: changes[key] for key in ("summary", "body", "artifacts")}
    for record in records:
        if record.expect == "nothing":
            return Published(task_id, record.state, unchanged=True, is_word=True)
        if record.ended and record.says(record.model_copy(update={"state": status, **texts})):
            return Published(task_id, record.state, unchanged=True, late=record.late)
    record = min(records, key=lambda record: record.ended)
    if record.ended:
        raise ended(record)
    if record.state == "stored":
        raise _not_claimed(session, task_id)
    if record.session == session.id:
        raise NotClaimed(
            f"Task {task_id} is this session's, and gone from the bus. Nothing was stored.",
            hint="Tell its sender by send_task what became of it.",
        )
    holder = f"session {record.session}" if ids.is_session(record.session) else "another session"
    raise NotClaimed(
        f"Task {task_id} is held by {holder} of {record.agent}. Nothing was stored.",
        hint="Leave it to that session; if it dies, read_inbox offers the task again. A program "
        "that a worker runs for it says all by what it prints on standard output, also what it has "
        "to ask: that is stored as the result.",
    )


async def _records_in_inboxes(session: Session, task_id: str) -> list[Record]:
    """Return the workers' records of a task in this agent's inboxes.

    There is one at most, but for ids that were chosen by those who write plain NATS.
    """
    wanted = [subjects.record_subject("*", inbox, task_id) for inbox in session.inboxes]
    messages = await lasts(session.bus, wanted)
    return [record for message in messages if (record := record_in(message))]


async def _without_record(session: Session, task_id: str) -> AgentbusError:
    """Return the error for a task of which none of this agent's inboxes has a record."""
    sent, _ = await session.outcomes.sent_records.read(task_id)
    if sent and sent.inbox not in session.inboxes:
        record, _ = await read_record(session.bus, session.me.id, sent.inbox, task_id)
        if record and record.ended:
            return ended(record)
        who = ids.address_of(sent.inbox)
        return NotYourTask(
            f"{session.me.id} sent task {task_id}; only {who} can answer it.",
            hint="To withdraw it, publish status 'cancelled'.",
        )
    if come := await _received(session, task_id):
        return await _not_offered(session, come) or _not_claimed(session, task_id)
    where = "among the tasks it holds, those in its inboxes, and those it sent"
    said = f"No task {task_id} is known to {session.me.id}: it was looked for {where}"
    return await unknown_task(session.bus, task_id, said, "answer", by="addressee")


def _not_claimed(session: Session, task_id: str) -> NotClaimed:
    return NotClaimed(
        f"{session.me.id} has task {task_id} in its inbox, but this session did not claim it."
    )


async def _not_offered(session: Session, come: Sent | Record) -> NotClaimed | None:
    """Return the error of a task that nobody can claim before its time; None if that has come."""
    at = come.deliver_at if isinstance(come, Sent) else None
    if at is None or await has_come(session.bus, at):
        return None
    return NotClaimed(
        f"Task {come.task_id} is offered to {ids.address_of(come.inbox)} from {text.stamp(at)} on, "
        "and to nobody before. Nothing was stored.",
        hint="Call read_inbox then: it claims waiting tasks.",
    )


async def _received(session: Session, task_id: str) -> Sent | Record | None:
    """Return what is kept of a task that was sent to this agent, touched or not."""
    bus = session.bus
    for inbox in session.inboxes:
        if sent := (await read_sent(bus, "*", inbox, task_id))[0]:
            return sent
        if record := (await read_record(bus, "*", inbox, task_id))[0]:
            return record
    return None


async def not_sent(session: Session, task_id: str, deed: str) -> NotYourTask | UnknownTask:
    """Return the error for what only the sender of a task may do, which this agent is not."""
    if task_id in session.claims or await _received(session, task_id):
        return NotYourTask(
            f"Task {task_id} was sent by another agent.",
            hint="Publish 'rejected' if you will not do it, or 'released' to give it back.",
        )
    said = f"{session.me.id} sent no task {task_id}"
    return await unknown_task(session.bus, task_id, said, deed, by="sender")


def ended(record: Record) -> AlreadyEnded:
    """Return the error of what comes after a task's end."""
    return AlreadyEnded(
        f"Task {record.task_id} is over: {record.state} by {record.agent} at "
        f"{text.stamp(record.updated_at)}. Nothing was stored."
    )
