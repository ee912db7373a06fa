# SPDX-License-Identifier: Apache-2.0
"""Look up a task: its whole life, by its id.

    >>> (await task_life(session, task_id)).state
    'working'

It tells of a task only whoever sent or received it. It claims and writes nothing, so looking
changes neither who gets a task nor what was seen.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from mcp_agentbus.bus.budget import one_call
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core import ids, text
from mcp_agentbus.core.aio import together
from mcp_agentbus.handoff.dispatch.outgoing import kept_here
from mcp_agentbus.handoff.intake import only, refusals
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.handoff.views.whose import unknown_task
from mcp_agentbus.store import roster
from mcp_agentbus.store.asked import question
from mcp_agentbus.store.asked.question import Question
from mcp_agentbus.store.queries import read_back
from mcp_agentbus.store.queries.clock import has_come
from mcp_agentbus.store.queries.sides import Records, Side, read_sides
from mcp_agentbus.store.records import as_asked
from mcp_agentbus.store.steps import first_record, sent_of
from mcp_agentbus.store.task import ENDS, HELD, Moment, Record, Sent, State, Task
from mcp_agentbus.store.upkeep import unkept


@dataclass(frozen=True)
class Life:
    """What is known of one task."""

    #: Its state now; a deadline that passed counts even before anybody has written it down.
    state: State
    record: Record
    #: The sender's record; None if only the worker's is left.
    sent: Sent | None
    #: The task itself; None if it is over, or neither this session's nor for its agent.
    task: Task | None
    #: What listeners did about it.
    wakes: tuple[Moment, ...] = ()
    #: What its worker asked and has not gone on from.
    question: Question | None = None
    #: The session that held it last has ended without an end of it: it is offered again.
    is_left: bool = False
    #: It lies in this machine's outbox, and is not at the bus yet.
    is_outgoing: bool = False

    @property
    def holder(self) -> str:
        """The agent that holds it; empty if nobody does."""
        return self.record.agent if self.state in HELD and not self.is_left else ""

    @property
    def history(self) -> tuple[Moment, ...]:
        """The steps of its life and of its wakes, in the order of time."""
        return tuple(sorted((*self.record.history, *self.wakes), key=lambda moment: moment.at))


@one_call
async def task_life(session: Session, task_id: str, others: Collection[str] = ()) -> Life:
    """Return what is known of a task that this agent sent or received; claims nothing.

    Args:
        session: whose task.
        task_id: its whole id.
        others: agents and inboxes whose tasks are told of as well; `*`: everybody's.

    Raises:
        BadInput: it is not a task id.
        UnknownTask: neither this agent nor any of the others sent or received it.
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    ids.task_id(task_id)
    if here := await _life_here(session, task_id, others):
        return here
    await session.called()
    me = session.me.id
    claim = session.claims.get(task_id)
    sides = [(me, "*"), *(("*", inbox) for inbox in session.inboxes)]
    if claim:  # others may have written of a task of that id
        sides = [(claim.task.sender, claim.task.to)]
    stored = await _own(session, sides, task_id)
    is_own = any(side.record or side.sent for side in stored)
    if others and not is_own:
        sides = list({side for each in others for side in ((each, "*"), ("*", each))})
        stored = await read_sides(session.bus, sides, task_id)
    record = next((side.record for side in stored if side.record), None)
    sent = next((side.sent for side in stored if side.sent), None)
    wakes = next((side.wakes for side in stored if side.wakes), None)
    if record is None:
        if sent is None:
            said = f"{me} neither sent nor received a task {task_id}"
            raise await unknown_task(session.bus, task_id, said, "read", by="sender")
        record = first_record(sent)
    session.claims.named(task_id)
    if record.owner == me or not is_own:
        record = await as_asked(session.bus, record, sent)
    task = claim.task if claim else None
    if not claim and record.inbox in session.inboxes and not record.ended:
        # Its reader may be one that has a session for each call.
        waits = await read_back.find(session.bus, record, sent.seq if sent else 0)
        task = waits[0] if waits else None
    state = await _state(session.bus, record, sent)
    steps = wakes.moments if wakes else ()
    asks = question.of_record(session.bus.settings.state_dir, record, sent, steps, task)
    is_left = state in HELD and not await roster.may_hold(session.bus, record)
    life = Life(state, record, sent, task, steps, None if state in ENDS else asks, is_left)
    return await as_shown(session, life)


async def _life_here(session: Session, task_id: str, others: Collection[str]) -> Life | None:
    """Return what is known of a task that is not at the bus yet; None if it does not lie here."""
    outbox, kept = session.outbox, await kept_here(session, task_id)
    if not (outbox and kept) or not {kept.task.sender, "*"} & {session.me.id, *others}:
        return None
    letter = await outbox.read(kept)
    if letter is None:
        return None
    task, sent = letter.task, sent_of(letter.task)
    state: State = "expired" if text.now() >= sent.expires_at else "stored"
    return Life(state, first_record(sent), sent, task, is_outgoing=True)


async def as_shown(session: Session, life: Life) -> Life:
    """Return a life as a session may be shown it: of what its agent does not take, no text.

    Nor of what a session that was started for one task alone has not been approved for.

    Raises: as `refusals.refusal`.
    """
    is_refused = await refusals.is_hidden(session.bus, session.refreshed(), life.record)
    if not (is_refused or only.hides(session, life.record, life.task)):
        return life
    record = life.record.model_copy(update={"subject": ""})
    return replace(life, record=record, sent=None, task=None)


async def _state(bus: Bus, record: Record, sent: Sent | None) -> State:
    overdue = sent and not record.ended and await has_come(bus, sent.expires_at)
    return "expired" if overdue else record.state


async def _own(session: Session, sides: Sequence[Side], task_id: str) -> list[Records]:
    """Return what is known of a session's task, also where its sender's side has yet to keep it."""
    await session.outcomes.sent_records.settled()
    stored = await read_sides(session.bus, sides, task_id)
    if any(side.sent for side in stored):
        return stored
    if await session.outcomes.sent_records.look():
        return await read_sides(session.bus, sides, task_id)
    if any(side.record for side in stored):
        return stored
    looks = (unkept.in_inbox(session.bus, inbox, task_id) for inbox in session.inboxes)
    return [Records(sent=sent) for sent in await together(*looks) if sent]
