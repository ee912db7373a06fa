# SPDX-License-Identifier: Apache-2.0
"""Look at tasks without claiming one: a task's whole life by its id, and what lies in the inboxes.

    >>> (await task_life(session, task_id)).state
    'working'
    >>> (await peek(session, 5, thread_id=None, cursor=None)).seen
    (Seen(task=Task(subject='Count the tests', ...), record=None),)

It tells of a task only whoever sent or received it. It takes nothing from an inbox and writes
nothing, so looking changes neither who gets a task nor what was seen.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Final

from mcp_agentbus.bus.budget import one_call
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core import ids, text
from mcp_agentbus.core.aio import together
from mcp_agentbus.core.ids import LANES
from mcp_agentbus.errors import AgentbusError, BadInput, UnknownTask
from mcp_agentbus.handoff.agents import of_this_user, unknown_task
from mcp_agentbus.handoff.sending.lying import kept_here
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.handoff.taking import accepting
from mcp_agentbus.store import roster, subjects
from mcp_agentbus.store.asked import question
from mcp_agentbus.store.asked.question import Question
from mcp_agentbus.store.outbox.outbox import Waits
from mcp_agentbus.store.reading import read_back
from mcp_agentbus.store.reading.clock import has_come
from mcp_agentbus.store.reading.counted import stored_subjects
from mcp_agentbus.store.reading.read_back import Seen, Unreadable
from mcp_agentbus.store.reading.sides import Records, Side, read_sides
from mcp_agentbus.store.records import as_asked, read_sent
from mcp_agentbus.store.steps import first_record, sent_of
from mcp_agentbus.store.subjects import RESULTS, TASKS
from mcp_agentbus.store.task import ENDS, HELD, Moment, Record, Sent, State, Task
from mcp_agentbus.store.upkeep import unkept

# A thread is looked for among this many stored tasks at most; more is said, not searched.
_SEARCHED_MAX: Final = 1_000
_PAGE: Final = 100
# What the ids made here are written in; those of other producers are taken as they come.
_HEX: Final = re.compile(r"[0-9a-f]+")


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
    asks = question.of_record(session.bus.settings.state_dir, record, sent, steps)
    is_left = state in HELD and not await roster.may_hold(session.bus, record)
    life = Life(state, record, sent, task, steps, None if state in ENDS else asks, is_left)
    return await as_shown(session, life)


async def _life_here(session: Session, task_id: str, others: Collection[str]) -> Life | None:
    """Return what is known of a task that is not at the bus yet; None if it does not lie here."""
    outbox, waits = session.outbox, await _kept_here(session, task_id)
    if not (outbox and waits) or not {waits.task.sender, "*"} & {session.me.id, *others}:
        return None
    letter = await outbox.read(waits)
    if letter is None:
        return None
    task, sent = letter.task, sent_of(letter.task)
    state: State = "expired" if text.now() >= sent.expires_at else "stored"
    return Life(state, first_record(sent), sent, task, is_outgoing=True)


async def _kept_here(session: Session, written: str) -> Waits | None:
    if (outbox := session.outbox) is None:
        return None
    return await kept_here(outbox, session.outcomes.keeping, session.bus, written)


async def as_shown(session: Session, life: Life) -> Life:
    """Return a life as a session may be shown it: of what its agent does not take, no text.

    Raises: as `accepting.refusal`.
    """
    if not await accepting.is_hidden(session.bus, session.refreshed(), life.record):
        return life
    record = life.record.model_copy(update={"subject": ""})
    return replace(life, record=record, sent=None, task=None)


async def whole_id(session: Session, written: str) -> str:
    """Return the id of the one task that begins with what was written.

    It is looked for among the tasks that this agent sent or received, and if none of them begins
    so among those of this user's other agents: what it is used for then says whose it is. What is
    no beginning of any comes back as it is, and is said to be unknown there.

    Args:
        session: whose tasks are meant first.
        written: an id, or at least its first 6 characters.

    Raises:
        BadInput: several begin with it; the message names them.
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    return await _meant(session, written) or written


async def _meant(session: Session, written: str) -> str | None:
    """Return the id that is meant; None if nothing here begins with what was written."""
    if not ids.may_be_short(written):
        return written
    if waits := await _kept_here(session, written):
        return waits.task.id
    if held := ids.whole_task_id(written, session.claims):
        return held
    await session.called()
    own = [(session.me.id, "*"), *(("*", inbox) for inbox in session.inboxes)]
    await session.outcomes.keeping.settled()
    known = await _known(session.bus, own)
    if not any(task_id.startswith(written) for task_id in known) and (
        await session.outcomes.keeping.look()
    ):
        known = await _known(session.bus, own)
    if not any(task_id.startswith(written) for task_id in known):
        with suppress(AgentbusError):  # then nobody knows
            users = of_this_user(session.bus.settings)
            sides = {side for agent in users for side in ((agent, "*"), ("*", agent))}
            known = await _known(session.bus, sides)
    return ids.whole_task_id(written, known)


async def sender_of(bus: Bus, task_id: str) -> str | None:
    """Return the agent that has sent a task; None if that is not known, or not for us to know."""
    with suppress(AgentbusError):
        sent, _ = await read_sent(bus, "*", "*", task_id)
        return sent.owner if sent else None
    return None


async def answered_id(session: Session, written: str | None) -> str | None:
    """Return the id of the task that a new one answers, as `whole_id`; None if it answers none.

    An id of another producer's is taken as it is: this user's agents need not have seen the task.

    Raises:
        UnknownTask: it is written as the beginning of an id of ours, and is that of none.
        BadInput, BusUnreachable, Unconfirmed, NotAllowed: as `whole_id`.
    """
    if written is None:
        return None
    whole = await _meant(session, written)
    if whole is None and _HEX.fullmatch(written):
        raise UnknownTask(
            f"No task's id begins with {written}, so nothing can answer it. Nothing was sent.",
            hint="Copy its id from read_inbox, or leave in_reply_to out.",
        )
    return whole or written


async def _known(bus: Bus, sides: Iterable[tuple[str, str]]) -> set[str]:
    """Return the ids of the tasks between these, each an owner and an inbox; `*` is any."""
    wanted = [
        subject(owner, inbox, "*")
        for owner, inbox in sides
        for subject in (subjects.record_subject, subjects.sent_subject)
    ]
    stored = await together(*(stored_subjects(bus, RESULTS, each) for each in wanted))
    return {subject.rpartition(".")[2] for some in stored for subject in some}


async def _state(bus: Bus, record: Record, sent: Sent | None) -> State:
    overdue = sent and not record.ended and await has_come(bus, sent.expires_at)
    return "expired" if overdue else record.state


async def _own(session: Session, sides: Sequence[Side], task_id: str) -> list[Records]:
    """Return what is known of a session's task, also where its sender's side has yet to keep it."""
    await session.outcomes.keeping.settled()
    stored = await read_sides(session.bus, sides, task_id)
    if any(side.sent for side in stored):
        return stored
    if await session.outcomes.keeping.look():
        return await read_sides(session.bus, sides, task_id)
    if any(side.record for side in stored):
        return stored
    looks = (unkept.in_inbox(session.bus, inbox, task_id) for inbox in session.inboxes)
    return [Records(sent=sent) for sent in await together(*looks) if sent]


@dataclass(frozen=True)
class Glance:
    """What a look into the inboxes brought."""

    seen: tuple[Seen, ...]
    #: What else its reader should know, in this program's words.
    notes: tuple[str, ...]
    #: Give it to the next look for what comes after; None if this is all.
    next_cursor: str | None


@dataclass
class _Search:
    """How far a look has come, and what it is after."""

    session: Session
    limit: int
    #: Only tasks of this conversation; None for all.
    thread_id: str | None
    #: The sequence to go on from, within the lane that is looked at.
    seq: int
    seen: list[Seen]
    notes: list[str]
    #: The sequence of the last that was seen.
    last: int = 0
    searched: int = 0
    #: Passed over: their senders' tasks this agent does not take.
    refused: int = 0

    @property
    def bus(self) -> Bus:
        return self.session.bus

    @property
    def stopped(self) -> bool:
        return len(self.seen) >= self.limit or self.searched >= _SEARCHED_MAX


async def peek(session: Session, limit: int, thread_id: str | None, cursor: str | None) -> Glance:
    """Return up to `limit` stored tasks from `cursor` on, high before normal before low.

    Raises:
        BadInput: the cursor is not one of a peek.
        BusUnreachable, NotAllowed: as `Bus.many`.
    """
    lanes = [subjects.task_subject(inbox, lane, "*") for lane in LANES for inbox in session.inboxes]
    place, seq = _position(cursor, len(lanes))
    # By one more than is shown it is known whether there are more, and where the next look begins.
    search = _Search(session, limit + 1, thread_id, seq, [], [])
    while place < len(lanes) and not search.stopped:
        is_through = await _search_lane(search, lanes[place])
        if len(search.seen) > limit:
            search.seen.pop()
            search.seq = search.last
            break
        if is_through:
            place, search.seq = place + 1, 1
    more = place < len(lanes)
    if more and len(search.seen) < limit:
        search.notes.append(f"{_SEARCHED_MAX} stored tasks were searched; go on with the cursor.")
    if search.refused:
        search.notes.append(
            f"Not shown: {search.refused} of senders whose tasks {session.me.id} does not take. "
            "Whoever reads the inbox next ends them as rejected."
        )
    next_cursor = f"peek-{place}-{search.seq}" if more else None
    return Glance(tuple(search.seen), tuple(search.notes), next_cursor)


async def _search_lane(search: _Search, lane: str) -> bool:
    """Look through a lane from where the search stands; tell whether its end was reached."""
    page = _PAGE if search.thread_id else search.limit - len(search.seen)
    async with aclosing(search.bus.stored(TASKS, lane, start=search.seq, page=page)) as pages:
        async for messages in pages:
            search.searched += len(messages)
            seen = await together(*(read_back.look_at(search.bus, message) for message in messages))
            for message, task in zip(messages, seen, strict=True):
                if len(search.seen) == search.limit:
                    return False
                search.seq = message.seq + 1
                if isinstance(task, Unreadable):
                    search.notes.append(
                        f"A stored message cannot be read: {task.reason}. The next reader parks it."
                    )
                elif task and search.thread_id in {None, task.task.thread_id}:
                    me = search.session.refreshed()
                    if await accepting.refusal(search.bus, me, task.task.sender, task.task.to):
                        search.refused += 1
                    else:
                        search.seen.append(task)
                        search.last = message.seq
            if len(messages) == page and search.stopped:
                return False
    return True


def _position(cursor: str | None, lanes: int) -> tuple[int, int]:
    """Return the lane and the sequence that a cursor names."""
    if cursor is None:
        return 0, 1
    kind, _, rest = text.check_text(cursor, "cursor").partition("-")
    place, _, seq = rest.partition("-")
    if kind != "peek" or not (text.is_count(place, 4) and text.is_count(seq, 22)):
        raise BadInput(
            "The cursor is not one of a peek.", hint="Use the cursor of the answer before."
        )
    return min(int(place), lanes), int(seq)
