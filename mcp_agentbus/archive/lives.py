# SPDX-License-Identifier: Apache-2.0
"""A task's whole life by its id, also of one that the bus no longer keeps.

>>> (await task_life(session, "9d0c2f")).state
'completed'
"""

from __future__ import annotations

from collections.abc import Collection

from mcp_agentbus.archive import audit
from mcp_agentbus.archive.audit import Span, TaskStep
from mcp_agentbus.archive.history import Current, of_id, up_to_date
from mcp_agentbus.archive.kept.removed import perhaps_removed
from mcp_agentbus.archive.kept.sides import Sides, users
from mcp_agentbus.archive.past import Past
from mcp_agentbus.bus.budget import one_call
from mcp_agentbus.core.ids import may_be_short, whole_task_id
from mcp_agentbus.errors import UnknownTask
from mcp_agentbus.handoff import lookup
from mcp_agentbus.handoff.lookup import Life
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.handoff.views import task_ids
from mcp_agentbus.store.task import Moment, Record, Sent


@one_call
async def task_life(session: Session, task_id: str, others: Collection[str] = ()) -> Life:
    """Return what is known of a task that this agent sent or received; claims nothing.

    Args:
        session: whose task.
        task_id: its id, or at least the first 6 characters.
        others: as `lookup.task_life`.

    Raises:
        BadInput: it is no task id, or several begin so.
        UnknownTask: neither this agent nor any of the others sent or received it.
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    try:
        return await lookup.task_life(session, await task_ids.whole_id(session, task_id), others)
    except UnknownTask as unknown:
        sides = Sides((session.me.id, *others), (*session.inboxes, *others))
        if "*" in others:
            sides = Sides()
        async with up_to_date(session.bus, users(session.bus.settings, session.me)) as current:
            life = _archived(current, sides, task_id)
        if life is None:
            raise perhaps_removed(unknown, current.extent.removed) from None
        return await lookup.as_shown(session, life)


def _archived(current: Current, sides: Sides, written: str) -> Life | None:
    """Return the life of the one task that begins so in the archive; None if none does.

    Raises:
        BadInput: several begin so; the message names them.
    """
    known = of_id(current.archive, sides, written, is_short=may_be_short(written))
    whole = whole_task_id(written, {past.task_id for past in known})
    # A copy of a result, which another of these agents got, is told of where there is nothing else.
    alike = sorted((past for past in known if past.task_id == whole), key=_is_copy)
    if not alike:
        return None
    past = alike[0]
    return _life(past, list(audit.steps(current.archive, sides, Span(task=past.n))))


def _is_copy(past: Past) -> bool:
    return bool(past.asked_by)


def _life(past: Past, steps: list[TaskStep]) -> Life:
    """Return a life as it is told of a task that the bus keeps."""
    about = {
        "task_id": past.task_id, "owner": past.owner, "inbox": past.inbox,
        "subject": past.subject, "thread_id": past.thread_id, "priority": past.priority,
    }  # fmt: skip
    record = Record(
        **about,
        state=past.state,
        agent=past.agent,
        session=past.session,
        attempts=past.attempts,
        summary=past.summary,
        body=past.result,
        artifacts=past.artifacts,
        progress=past.progress,
        reason=past.reason,
        late=past.late,
        updated_at=past.updated_at,
        history=tuple(
            Moment(state=step.state, at=step.at, by=step.by, reason=step.reason, note=step.note)
            for step in steps
        ),
    )
    sent = Sent(
        **about,
        created_at=past.created_at,
        expires_at=past.expires_at or past.created_at,
        deliver_at=past.deliver_at,
        task_type=past.task_type,
        in_reply_to=past.in_reply_to,
        body=past.request,
        body_chars=past.request_chars,
        seen_at=past.seen_at,
    )
    return Life(past.state, record, sent if past.is_asked else None, None)
