# SPDX-License-Identifier: Apache-2.0
"""Clear up after an agent: reject what waits for it, withdraw what it has sent.

    >>> what = await to_clear(session)
    >>> len(what.received), len(what.sent)
    (3, 2)
    >>> await clear(session, what)
    Cleared(rejected=3, withdrawn=2, left=0)

Nothing goes without a word: every task has an end that its sender is told, and its life stays. What
nobody has read, results and words, and what a live session holds, stays as it is, and so do the
tasks of roles, which belong to several, and what lies in the outbox, which is the listener's alone.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core import text
from mcp_agentbus.errors import (
    AgentbusError,
    AlreadyEnded,
    NotClaimed,
    NotYourTask,
    UnknownAgent,
    UnknownTask,
)
from mcp_agentbus.handoff.dispatch.outgoing import all_kept_here
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.handoff.views import glances
from mcp_agentbus.store import roster, streams, subjects
from mcp_agentbus.store.queries import read_back
from mcp_agentbus.store.queries.clock import has_come
from mcp_agentbus.store.records import lasts, record_in, record_key, sent_in, update
from mcp_agentbus.store.steps import Lost, Step, first_record, next_record, sent_of
from mcp_agentbus.store.subjects import RESULTS, SCHEDULE
from mcp_agentbus.store.task import HELD, Task, Undecodable
from mcp_agentbus.store.upkeep import removal

# Tasks of an inbox that are looked at in one go.
_PAGE: Final = 100


@dataclass(frozen=True)
class Clearing:
    """What `clear` would end, by task ids, and what it would leave."""

    #: What waits for the agent, the urgent first; what it holds itself is in it, too.
    received: tuple[str, ...] = ()
    #: What it has sent to others and that has no end, the oldest first.
    sent: tuple[str, ...] = ()
    #: So many tasks that live sessions hold.
    held: int = 0
    #: So many words that were not shown yet, see `send_task(expect="nothing")`.
    words: int = 0
    #: So many tasks that it sent, and that are kept on this machine until the bus takes them.
    outgoing: int = 0
    #: What was sent to it for a later time, which has not come.
    later: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to end."""
        return not (self.received or self.sent or self.later)


@dataclass(frozen=True)
class Cleared:
    """What was done."""

    rejected: int
    withdrawn: int
    #: Tasks that have ended, or that somebody has claimed, since they were looked at; and those
    #: that a program has stored without a sender's record, which a session has to read.
    left: int


async def to_clear(session: Session) -> Clearing:
    """Return what `clear` would end; nothing is claimed, and nobody registered.

    Raises:
        UnknownAgent: nobody of that name is registered, nor waits anything for it.
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    await streams.ensure_streams(session.bus)
    await session.outcomes.sent_records.look()
    received: list[str] = []
    held = words = 0
    cursor: str | None = ""
    while cursor is not None:
        glance = await glances.peek(session, _PAGE, None, cursor or None)
        cursor = glance.next_cursor
        for seen in glance.seen:
            if seen.task.to != session.me.id:
                continue
            if await _is_held(session, seen):
                held += 1
            elif seen.task.expect == "nothing":
                words += 1
            else:
                received.append(seen.task.id)
    later = {task.id: task.expect async for task in _later(session)}
    words += sum(expect == "nothing" for expect in later.values())
    to_come = tuple(task_id for task_id, expect in later.items() if expect != "nothing")
    to_itself = {*received, *to_come}
    sent = await _sent(session.bus, session.me.id)
    others = tuple(task_id for task_id in sent if task_id not in to_itself)
    outgoing = await _outgoing(session)
    what = Clearing(tuple(received), others, held, words, outgoing, to_come)
    if what == Clearing() and not await roster.look(session.bus, session.me.id):
        raise UnknownAgent(f"No agent {session.me.id!r} is registered. Nothing was done.")
    return what


async def clear(session: Session, what: Clearing) -> Cleared:
    """End these tasks: what was received as rejected, what was sent as cancelled.

    Where it fails, the same again goes on.

    Raises:
        BusUnreachable, Unconfirmed, StoreFull, NotAllowed: as `Bus.publish`.
    """
    rejected = withdrawn = 0
    later = {task.id: task async for task in _later(session)} if what.later else {}
    for task_id in (*what.received, *what.later):
        why = f"{session.me.id} has cleared its inbox without doing this."
        if task := later.get(task_id):
            rejected += await _rejected(session, task, why)
            continue
        with suppress(AlreadyEnded, NotClaimed, NotYourTask, UnknownTask):
            await publish_result(session, task_id, "rejected", summary=why)
            rejected += 1
    for task_id in what.sent:
        with suppress(AlreadyEnded, NotYourTask, UnknownTask):
            await publish_result(session, task_id, "cancelled")
            withdrawn += 1
    done = rejected + withdrawn
    there = len(what.received) + len(what.later) + len(what.sent)
    return Cleared(rejected, withdrawn, there - done)


async def _is_held(session: Session, seen: read_back.Seen) -> bool:
    """Tell whether another session that lives has it."""
    record = seen.record
    if record is None or record.state not in HELD or record.session == session.id:
        return False
    return await roster.may_hold(session.bus, record)


async def _later(session: Session) -> AsyncGenerator[Task, None]:
    """Yield what waits for its time, for this agent, as its senders have scheduled it."""
    places = subjects.scheduled_subject(session.me.id, "*", "*", "*")
    async with aclosing(session.bus.stored(SCHEDULE, places)) as pages:
        async for page in pages:
            for message in page:
                inbox, _, (lane, sender, task_id) = subjects.parts(message.subject)
                at = subjects.task_subject(inbox, lane, sender)
                with suppress(Undecodable):  # doctor names it
                    task = read_back.decoded(replace(message, subject=at))
                    if task.id == task_id:
                        yield task


async def _rejected(session: Session, task: Task, why: str) -> bool:
    """End a task whose time has not come, which nobody can claim; tell whether it was done here."""
    sent = sent_of(task)
    wanted = Step(
        "rejected", sent.inbox, first_record(sent), session=session.id, changes={"summary": why}
    )
    outcome = await update(
        session.bus,
        record_key(sent.owner, sent.inbox, sent.task_id),
        lambda standing: next_record(standing, wanted, text.now()),
    )
    if isinstance(outcome, Lost) and not outcome.record.ended:
        return False
    with suppress(AgentbusError):  # whoever reads the inbox removes it
        await removal.remove(session.bus, sent)
    return not isinstance(outcome, Lost)


async def _outgoing(session: Session) -> int:
    """Return how many tasks of this agent are not at the bus yet."""
    waits = await all_kept_here(session)
    return sum(
        each.is_ours and not each.is_over and each.task.sender == session.me.id for each in waits
    )


async def _sent(bus: Bus, agent: str) -> list[str]:
    """Return what an agent has sent and that has no end."""
    is_open: list[str] = []
    async for page in bus.stored(RESULTS, subjects.sent_subject(agent, "*", "*")):
        kept = [kept for message in page if (kept := sent_in(message))]
        sent = [
            each
            for each in kept
            if not (each.closed or each.unasked) and not await has_come(bus, each.expires_at)
        ]
        wanted = [subjects.record_subject(each.owner, each.inbox, each.task_id) for each in sent]
        records = [record_in(message) for message in await lasts(bus, wanted)]
        ended = {(record.inbox, record.task_id) for record in records if record and record.ended}
        is_open += [each.task_id for each in sent if (each.inbox, each.task_id) not in ended]
    return is_open
