# SPDX-License-Identifier: Apache-2.0
"""The steps of a task's life: which may be written over what stands, and what is written then.

    >>> next_record(None, Step("cancelled", "planner", first=first), now()).value.state
    'cancelled'
    >>> next_record(completed, Step("cancelled", "planner", first=first), now())
    Lost(record=Record(state='completed', ...))

The heart of "a task has one end": a worker's word, a withdrawal and a deadline go through
`next_record` with what stands, are written only if that still stands (`records.update`), and are
decided anew if it does not. Claiming, giving back and parking are tried once, over what their
writer has just read. Pure: it reads no clock and no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Generic, TypeVar

from mcp_agentbus.core.ids import is_agent
from mcp_agentbus.store.task import (
    ASKING,
    EXPIRES_MAX_S,
    HELD,
    HOPS_MAX,
    NOTE_MAX_CHARS,
    REQUEST_MAX_CHARS,
    WORKER_ENDS,
    Moment,
    Record,
    Sent,
    State,
    Task,
)

# Steps of a task's life that its record keeps: the first, and the latest of the others.
_HISTORY_MAX: Final = 40
# Steps that are not the holder's: they end a task whoever holds it.
_ENDED_FROM_OUTSIDE: Final = frozenset({"cancelled", "expired"})

_T = TypeVar("_T")


@dataclass(frozen=True)
class Write(Generic[_T]):
    """Store this over what stands."""

    value: _T


@dataclass(frozen=True)
class Same:
    """Nothing is to be written: what stands says it already."""

    record: Record


@dataclass(frozen=True)
class Lost:
    """Nothing may be written: the task has another end, or another session holds it."""

    record: Record


@dataclass(frozen=True)
class Step:
    """A step that somebody wants to take."""

    state: State
    #: Who takes it.
    agent: str
    #: The record to go on from if none is stored.
    first: Record
    #: The session that holds the task; empty for a step that is not its holder's.
    session: str = ""
    #: After this time a worker's end counts as late; None for other steps.
    deadline: datetime | None = None
    #: Further fields of the record, such as `summary` and `reason`.
    changes: Mapping[str, Any] = field(default_factory=dict)
    #: Whether it asks anew what is asked already, as its holder has read what was said to that.
    anew: bool = False

    def taken(self, record: Record, at: datetime, *, late: bool = False) -> Record:
        """Return the record after this step."""
        changes = dict(self.changes)
        if self.deadline is not None:
            ends = self.state in WORKER_ENDS
            changes["late"] = late or (ends and at >= self.deadline)
        return step(record, self.state, self.agent, self.session, at, **changes)

    def repeats(self, record: Record) -> bool:
        """Tell whether a record says what this step would have it say."""
        if self.state == "cancelled":
            return record.state == "cancelled"
        wanted = record.model_copy(update={"state": self.state, **self.changes})
        return record.session == self.session and record.says(wanted)

    def asks_again(self, record: Record) -> bool:
        """Tell whether an open record asks already what this step would have it ask."""
        return self.state in ASKING and not self.anew and self.repeats(record)


def next_record(standing: Record | None, wanted: Step, at: datetime) -> Write[Record] | Same | Lost:
    """Decide about a step, over the record that stands.

    | what stands                | the holder's step | the holder's end     | from outside |
    |----------------------------|-------------------|----------------------|--------------|
    | nothing                    | Write             | Write                | Write        |
    | open, and asks just that   | Same              | -                    | -            |
    | open, held by this session | Write             | Write                | Write        |
    | open, anybody else's       | Lost              | Lost                 | Write        |
    | ended, and says the same   | -                 | Same                 | Same         |
    | expired                    | Lost              | Write, as late       | Lost         |
    | any other end              | Lost              | Lost                 | Lost         |
    """
    if standing is None:
        return Write(wanted.taken(wanted.first, at))
    if not standing.ended:
        if wanted.asks_again(standing):  # as a new question it would have no reply to the first
            return Same(standing)
        may = wanted.state in _ENDED_FROM_OUTSIDE or standing.session == wanted.session
        return Write(wanted.taken(standing, at)) if may else Lost(standing)
    if wanted.repeats(standing):
        return Same(standing)
    if standing.state == "expired" and wanted.state in WORKER_ENDS:
        return Write(wanted.taken(standing, at, late=True))
    return Lost(standing)


def step(
    record: Record,
    state: State,
    agent: str,
    session: str,
    at: datetime,
    *,
    note: str = "",
    **changes: Any,
) -> Record:
    """Return the record one step further on, taken by `agent`.

    The step's note is `note`, or what was said with a step that keeps the task: the record has that
    until the next one.
    """
    if state in HELD:  # an end's texts are the record's for good
        note = note or said_with(changes)
    moment = Moment(
        state=state,
        at=at,
        by=agent,
        reason=str(changes.get("reason", "")),
        note=note if len(note) <= NOTE_MAX_CHARS else f"{note[: NOTE_MAX_CHARS - 1]}…",
    )
    latest = (*record.history[1:], moment)[-(_HISTORY_MAX - 1) :]
    return record.model_copy(
        update={
            "state": state,
            "agent": agent,
            "session": session,
            "updated_at": at,
            "history": (*record.history[:1], *latest),
            **changes,
        }
    )


def given_back(
    standing: Record | None,
    session: str,
    agent: str,
    *,
    counts: bool,
    at: datetime,
    reason: str,
    note: str = "",
) -> Write[Record] | Record | None:
    """Return a task's record as that of one that waits again, if that session holds it still.

    Args:
        standing: the record that stands.
        session: the one that gives it back.
        agent: whose session that is.
        counts: whether that was an attempt, whatever its worker has said.
        at: when.
        reason: why.
        note: what its worker says to that.
    """
    if standing is None or not _is_held(standing, session):
        return standing
    is_none = standing.state == "claimed" and not counts
    changes = {"attempts": standing.attempts - is_none, "reason": reason}
    return Write(step(standing, "stored", agent, "", at, note=note, **changes))


def passed_on(standing: Record | None, session: str, to: str) -> Write[Record] | Record | None:
    """Return a task's record as held by another session, if that one holds it still."""
    if standing is None or not _is_held(standing, session):
        return standing
    return Write(standing.model_copy(update={"session": to}))


def _is_held(standing: Record, session: str) -> bool:
    return not standing.ended and standing.session == session


def in_one(said: Mapping[str, Any]) -> str:
    """Return all texts that were said with a step as one, for where a single text is kept."""
    artifacts = "\n".join(f"Artifact: {artifact}" for artifact in said.get("artifacts", ()))
    return "\n\n".join(filter(None, (said.get("summary"), said.get("body"), artifacts)))


def said_with(changes: Mapping[str, Any]) -> str:
    """Return the same behind the percent done, which are said of a step that keeps the task."""
    progress = changes.get("progress")
    percent = "" if progress is None else f"{progress:g} %"
    return "\n\n".join(filter(None, (percent, in_one(changes))))


def sent_of(task: Task) -> Sent:
    """Return what the sender keeps of a task that it has just sent."""
    return Sent(
        task_id=task.id,
        owner=task.sender,
        inbox=task.to,
        subject=task.subject,
        thread_id=task.thread_id,
        priority=task.priority,
        owner_session=task.session,
        notify=task.notify,
        created_at=task.created_at,
        expires_at=task.expires_at,
        deliver_at=task.deliver_at,
        request=task.request,
        task_type=task.task_type,
        in_reply_to=task.in_reply_to,
        expect=task.expect,
        reply_to=task.reply_to,
        chain=task.chain if task.reply_to else (),
        hops=min(task.hops, HOPS_MAX) if task.reply_to else 0,
        body=task.body[:REQUEST_MAX_CHARS],
        body_chars=len(task.body),
    )


def as_asked(record: Record, sent: Sent | None) -> Record:
    """Return a worker's record with its owner's own word for what it has copied from the task.

    Where the owner's side has kept nothing, whoever can write there may have made the task up: the
    record is `unasked`, for no session in particular, and starts nobody.
    """
    if sent is None or sent.unasked:
        nobodys = {
            "unasked": True, "owner_session": "", "notify": "never", "expect": "answer",
            "reply_to": "", "asked_by": "",
        }  # fmt: skip
        return record.model_copy(update=nobodys)
    return record.model_copy(
        update={
            "subject": sent.subject or record.subject,
            "thread_id": sent.thread_id or record.thread_id,
            "priority": sent.priority,
            "owner_session": sent.owner_session,
            "notify": sent.notify,
            "expect": sent.expect,
            "reply_to": sent.reply_to,
        }
    )


def question_of(record: Record) -> Moment | None:
    """Return the step in which a task's worker asked something and has not gone on since.

    A worker that died has not: whoever is offered the task next has its question. Who asked is an
    agent; else it is no question.
    """
    for moment in reversed(record.history):
        if moment.state in ASKING:
            return moment if is_agent(moment.by) and not record.ended else None
        if moment.state not in {"stored", "claimed"}:
            return None
    return None


def asked_in(record: Record) -> str:
    """Return what the worker of a record says in it, in all: while it asks, that is its question.

    That stays when the task goes to another session, until that says something itself.
    """
    said = in_one(
        {
            "summary": record.summary.strip(),
            "body": record.body.strip(),
            "artifacts": record.artifacts,
        }
    )
    if said:
        return said
    question = question_of(record)
    return question.note if question else ""


def copied_for(record: Record) -> Record:
    """Return the copy of a record for the agent that gets the result as well."""
    theirs = {
        "owner": record.reply_to, "asked_by": record.owner, "reply_to": "", "owner_session": "",
        "notify": "live",
    }  # fmt: skip
    return record.model_copy(update=theirs)


def sent_by_record(record: Record) -> Sent:
    """Return what is kept of a task of which only the worker's record tells: that it was seen."""
    created_at = record.history[0].at if record.history else record.updated_at
    return Sent(
        task_id=record.task_id,
        owner=record.owner,
        inbox=record.inbox,
        subject=record.subject,
        thread_id=record.thread_id,
        priority=record.priority,
        notify="never",
        created_at=created_at,
        expires_at=created_at + timedelta(seconds=EXPIRES_MAX_S),
        unasked=True,
    )


def first_record(sent: Sent) -> Record:
    """Return the record of a task that nobody has touched yet, from what its sender knows."""
    return Record(
        task_id=sent.task_id,
        owner=sent.owner,
        inbox=sent.inbox,
        state="stored",
        agent=sent.owner,
        subject=sent.subject,
        thread_id=sent.thread_id,
        priority=sent.priority,
        owner_session=sent.owner_session,
        notify=sent.notify,
        expect=sent.expect,
        reply_to=sent.reply_to,
        updated_at=sent.created_at,
        history=(Moment(state="stored", at=sent.created_at, by=sent.owner),),
    )
