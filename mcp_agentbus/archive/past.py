# SPDX-License-Identifier: Apache-2.0
"""A task as it is known, over or not, and whether whoever claimed it still has it.

>>> (await as_held(bus, tasks))[0].is_left
True
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core import text
from mcp_agentbus.core.aio import together
from mcp_agentbus.core.ids import SHELL_PREFIX, Priority
from mcp_agentbus.store import roster
from mcp_agentbus.store.asked.question import Question
from mcp_agentbus.store.outbox.outbox import Envelope
from mcp_agentbus.store.queries.clock import now_about
from mcp_agentbus.store.task import CLAIM_MAX_S, ENDS, HELD, OPEN, Expect, State, Task

#: The condition that a task is not told twice: where its sender had its result sent to another
#: agent as well, the archive has a copy, which is that agent's alone.
ONCE: Final = (
    "(tasks.asked_by = '' OR NOT EXISTS (SELECT 1 FROM tasks AS first WHERE first.owner ="
    " tasks.asked_by AND first.inbox = tasks.inbox AND first.id = tasks.id))"
)


@dataclass(frozen=True)
class Past:
    """A task as it is known, over or not."""

    #: Its place in the archive; the next page begins behind it.
    n: int
    task_id: str
    owner: str
    inbox: str
    #: A deadline that passed counts even before anybody has written it down.
    state: State
    #: Who holds it, or took its last step.
    agent: str
    session: str
    subject: str
    thread_id: str
    priority: Priority
    task_type: str
    in_reply_to: str | None
    expect: Expect
    #: Of the result of another agent's task: whose that is, as its worker says.
    asked_by: str
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    deliver_at: datetime | None
    seen_at: datetime | None
    #: What is kept of the task's text, and how many characters it had; 0: that is not known.
    request: str
    request_chars: int
    summary: str
    result: str
    artifacts: tuple[str, ...]
    progress: float | None
    reason: str
    late: bool
    attempts: int
    #: Its owner's side is known to have sent it.
    is_asked: bool
    #: Where words were looked for: the text around them.
    snippet: str = ""
    #: What its worker asked and has not gone on from, also if its session has ended since.
    question: Question | None = None
    #: The session that held it last has ended without an end of it: it is offered again.
    is_left: bool = False
    #: It lies in this machine's outbox, and is not at the bus yet.
    is_outgoing: bool = False
    #: It was read of another bus than the one that is used, or of this one before its restore.
    is_elsewhere: bool = False

    def without_texts(self) -> Past:
        """Return the same without what its sender wrote."""
        return replace(self, subject="", summary="", snippet="", request="")

    @property
    def sender(self) -> str:
        """Who sent it; of a copy of its result, by its worker's word."""
        return self.asked_by or self.owner

    @property
    def ended(self) -> bool:
        """Whether nothing more is to come."""
        return self.state in ENDS

    @property
    def holder(self) -> str:
        """The agent that holds it; empty if nobody does."""
        return self.agent if self.state in HELD and not self.is_left else ""

    @property
    def lease_ends(self) -> datetime | None:
        """Until when a shell holds it, which gives no sign of life; None: a session does."""
        if self.state in HELD and self.session.startswith(SHELL_PREFIX):
            return self.updated_at + timedelta(seconds=CLAIM_MAX_S)
        return None


def unlisted(task: Task, number: int = 0) -> Past:
    """Return a task of which no record is kept, as of another producer; `number`: its place."""
    return Past(
        n=number, task_id=task.id, owner=task.sender, inbox=task.to, state="stored", agent="",
        session="", subject=task.subject, thread_id=task.thread_id, priority=task.priority,
        task_type=task.task_type, in_reply_to=task.in_reply_to, created_at=task.created_at,
        updated_at=task.created_at, expires_at=task.expires_at, deliver_at=task.deliver_at,
        seen_at=None, request=task.body, request_chars=len(task.body), summary="", result="",
        artifacts=(), progress=None, reason="", late=False, attempts=0, is_asked=False,
        expect=task.expect, asked_by="",
    )  # fmt: skip


def outgoing(envelope: Envelope) -> Past:
    """Return a task of the outbox."""
    return replace(unlisted(envelope.task), is_asked=True, is_outgoing=True)


async def as_held(bus: Bus, tasks: Sequence[Past]) -> tuple[Past, ...]:
    """Return tasks as they are at this moment, those as left whose session has ended.

    A session that died writes nothing, and nobody else does before its task is claimed again.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    holders = list({_holder(task) for task in tasks if task.state in HELD and not task.lease_ends})
    live = await together(*(roster.may_live(bus, *holder) for holder in holders))
    gone = {holder for holder, lives in zip(holders, live, strict=True) if not lives}
    leases = [task.lease_ends for task in tasks if task.lease_ends]
    here = text.now()
    # Of the one that ends next, or has just ended, it matters most.
    next_end = min(leases, key=lambda ends: abs(ends - here), default=None)
    now = await now_about(bus, next_end) if next_end else here

    def at_this_moment(task: Past) -> Past:
        if task.state not in HELD:
            return task
        if task.lease_ends:
            return replace(task, is_left=task.lease_ends <= now)
        return replace(task, is_left=_holder(task) in gone)

    return tuple(map(at_this_moment, tasks))


def _holder(task: Past) -> tuple[str, str]:
    return task.agent, task.session


def past_of(
    row: sqlite3.Row, now: datetime, question: Question | None = None, *, here: str | None = None
) -> Past:
    """Return the task in a row of the archive, with what its worker asks where that is known.

    `here` is the stream of the bus that is used, where one was reached.
    A deadline that has passed by `now` counts before anybody has written it down.
    """
    values = dict(row)
    for name in ("created_at", "updated_at", "expires_at", "deliver_at", "seen_at"):
        values[name] = datetime.fromisoformat(values[name]) if values[name] else None
    state = values["state"]
    if state in OPEN and values["expires_at"] and values["expires_at"] <= now:
        state = "expired"
    fields = Past.__dataclass_fields__.keys() & values.keys()
    return Past(
        **{name: values[name] for name in fields - {"state", "artifacts", "late"}},
        task_id=values["id"],
        state=state,
        artifacts=tuple(text.from_json(values["artifacts"])),
        late=bool(values["late"]),
        is_asked=values["sent_seq"] > 0,
        question=None if state in ENDS else question,
        is_elsewhere=here is not None and values["stream"] != here,
    )
