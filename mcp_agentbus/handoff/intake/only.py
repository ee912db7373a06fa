# SPDX-License-Identifier: Apache-2.0
"""One task by its id: claimed without an offer, and all that a session started for it alone has.

    $ agentbus serve --agent coder --only 9d0c2f1e5b0a7f4c6e8b2d3f5a7c9e1b

Such a session reads, claims, reports on and ends that task. Whatever else waits it neither claims
nor counts nor shows, and it begins nothing of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Conflict, untaken
from mcp_agentbus.core import text
from mcp_agentbus.errors import Refused
from mcp_agentbus.handoff.claim import Claim
from mcp_agentbus.handoff.intake.refusals import refusal
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import roster
from mcp_agentbus.store.asked import decisions
from mcp_agentbus.store.queries import read_back
from mcp_agentbus.store.queries.clock import has_come
from mcp_agentbus.store.queries.sides import read_sides
from mcp_agentbus.store.records import read_record, write_record
from mcp_agentbus.store.steps import first_record, step
from mcp_agentbus.store.subjects import TASKS
from mcp_agentbus.store.task import Record, Sent, Task
from mcp_agentbus.store.upkeep import unkept

#: The tools of such a session.
TOOLS: Final = frozenset({"read_inbox", "watch_inbox", "publish_result"})

_CHANGED: Final = "Task {} has another text by now than the one that your user was shown."


@dataclass(frozen=True)
class Gone:
    """The task is not to be had."""

    #: Why, for its reader.
    note: str


def refused(session: Session) -> Refused:
    """Return what is said to whatever goes beyond the session's one task."""
    return Refused(
        f"This session was started for task {session.only} alone, and has nothing else. "
        "Nothing was done.",
        hint="Call read_inbox for it, without options, and publish_result to report on it.",
    )


def meant(session: Session, written: str) -> str:
    """Return the session's one task, if its id or the beginning of it was written.

    Raises:
        Refused: something else was.
    """
    if not written or not session.only.startswith(written):
        raise refused(session)
    return session.only


async def claim(session: Session) -> Claim | Gone:
    """Claim the session's one task, unless it is over or somebody else's.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    if claim := await unheld(session, session.only, session.id):
        folder = session.bus.settings.state_dir
        if decisions.is_about_another(folder, claim.record, claim.task):
            return Gone(f"{_CHANGED.format(session.only)} This session was started for it alone.")
        try:
            revision = await write_record(session.bus, claim.record, claim.revision)
            return session.claims.hold(replace(claim, revision=revision))
        except Conflict:  # another session was as quick
            pass
    return Gone(f"{await _why_not(session)} This session was started for it alone.")


def hides(session: Session, record: Record, task: Task | None) -> bool:
    """Tell whether what a task says by now is not shown to a session that does not hold it.

    It was started for what its user was shown, and of that alone it may do what is asked.
    """
    if not session.only or record.task_id in session.claims:
        return False
    folder = session.bus.settings.state_dir
    return task is None or decisions.is_about_another(folder, record, task)


async def unheld(session: Session, task_id: str, holder: str) -> Claim | None:
    """Return the claim of a task that waits in an inbox of this agent; None if none does.

    It is not written yet.

    Args:
        session: whose inboxes are meant.
        task_id: which task.
        holder: the session that is to have it.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    for inbox in session.inboxes:
        record, revision, sent = await _standing(session.bus, inbox, task_id)
        if record is None or record.ended or await roster.may_hold(session.bus, record):
            continue
        stored = await read_back.find(session.bus, record, sent.seq if sent else 0)
        if stored and not await has_come(session.bus, stored[0].expires_at):
            task, message = stored
            if await refusal(session.bus, session.refreshed(), task.sender, task.to):
                continue
            attempts = record.attempts + 1
            claimed = step(
                record, "claimed", session.me.id, holder, text.now(), attempts=attempts, reason=""
            )
            return Claim(task, untaken(TASKS, message), claimed, revision)
    return None


async def _standing(bus: Bus, inbox: str, task_id: str) -> tuple[Record | None, int, Sent | None]:
    """Return a task's record with its revision, and what its sender keeps of it."""
    [there] = await read_sides(bus, [("*", inbox)], task_id)
    record, revision, sent = None, 0, there.sent
    if there.record:
        record, revision = await read_record(bus, there.record.owner, inbox, task_id)
    if record.ended if record else sent is None:  # its sender may be about to keep it
        come = await unkept.in_inbox(bus, inbox, task_id)
        if come and (record is None or come.owner != record.owner):
            return first_record(come), 0, come
    return record or (first_record(sent) if sent else None), revision, sent


async def _why_not(session: Session) -> str:
    for inbox in session.inboxes:
        record, _ = await read_record(session.bus, "*", inbox, session.only)
        if record and record.ended:
            return f"Task {session.only} is over: {record.state}."
        if record and await roster.may_hold(session.bus, record):
            return f"Task {session.only} is held by another session, and is left to that."
    return f"Task {session.only} waits in no inbox of {session.me.id}."
