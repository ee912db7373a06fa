# SPDX-License-Identifier: Apache-2.0
"""What an agent reads: tasks it holds, tasks it gets, results of tasks it sent.

    >>> inbox = await read_inbox(session, limit=5)
    >>> inbox.tasks[0].task.subject, inbox.results, inbox.waiting
    ('Count the tests', (), {'normal': 3})

Reading claims what it returns; peeking claims nothing. Reading again shows the same claims. An
empty answer means an empty inbox: what could not be read raises, or is named in `degraded`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any, Final

from mcp_agentbus.core import ids
from mcp_agentbus.core.aio import together
from mcp_agentbus.core.ids import LANES, Priority
from mcp_agentbus.errors import AgentbusError, BadInput, BusUnreachable, Unconfirmed
from mcp_agentbus.handoff import claims as claiming
from mcp_agentbus.handoff import lookup, outcomes
from mcp_agentbus.handoff.claims import Taken
from mcp_agentbus.handoff.session import EVERYTHING, RECORDS, Claim, Session
from mcp_agentbus.store import streams
from mcp_agentbus.store.records import read_record
from mcp_agentbus.store.task import Record, State, Task

LIMIT_MAX: Final = 50
WATCH_MAX_S: Final = 3600
# How often a waiting call looks without being told to: a dead session's claims come back silently.
_LOOK_AGAIN_S: Final = 5.0


@dataclass(frozen=True)
class Item:
    """A task as its reader gets it."""

    task: Task
    state: State
    #: Which attempt at the task this is; 0 for one that was only peeked at.
    attempt: int = 0
    #: Claimed by this very call.
    new: bool = False
    #: Who holds it: empty for this session, or for nobody if `state` is `stored`.
    holder: str = ""


@dataclass(frozen=True)
class Inbox:
    """An answer of the inbox."""

    tasks: tuple[Item, ...] = ()
    results: tuple[Record, ...] = ()
    #: Tasks that nobody holds, by priority; a priority without any is left out.
    waiting: dict[Priority, int] | None = None
    #: Why something could not be read; empty if everything could.
    degraded: str = ""
    #: What else the reader should know, in this program's words.
    notes: tuple[str, ...] = ()
    #: Give it to the next call for what comes after; None if this is all.
    next_cursor: str | None = None
    #: Claims of this session, shown here or not.
    held: int = 0
    peeked: bool = False
    timed_out: bool = False

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not self.tasks and not self.results and not self.notes


async def read_inbox(
    session: Session,
    *,
    limit: int = 5,
    peek: bool = False,
    thread_id: str | None = None,
    cursor: str | None = None,
) -> Inbox:
    """Return this session's claims, then newly claimed tasks, and new results.

    Args:
        session: the reader's session.
        limit: at most this many tasks, 1 to 50, and as many results.
        peek: claim nothing; show what waits.
        thread_id: only what belongs to this conversation; claims nothing.
        cursor: `next_cursor` of the answer before.

    Raises:
        BadInput: a value breaks its rule.
        BusUnreachable, Unconfirmed, NotAllowed: the inbox could not be read at all.
    """
    if not 1 <= limit <= LIMIT_MAX:
        raise BadInput(f"limit is {limit}.", hint=f"Use 1 to {LIMIT_MAX}.")
    if thread_id is not None:
        ids.label(thread_id, "thread id")
    await session.called()
    await session.can_read()
    async with session.lock:
        await outcomes.confirm(session, session.shown)
    if peek or thread_id is not None:
        return await _answer(session, lambda: _peek(session, limit, thread_id, cursor))
    after = _after(cursor)
    return await _answer(session, lambda: _read(session, limit, after))


async def watch_inbox(
    session: Session,
    *,
    timeout_s: float = 45,
    task_id: str | None = None,
    priority: Priority | None = None,
    limit: int = 5,
    waiting: Callable[[float], Awaitable[None]] | None = None,
) -> Inbox:
    """Wait for something new: a task, a result, or the result of one task.

    Args:
        session: the reader's session.
        timeout_s: give up after so many seconds, 0 to 3600; that is a normal, empty answer.
        task_id: wait for what becomes of this task, and claim nothing.
        priority: claim only tasks of this priority.
        limit: at most this many tasks.
        waiting: called every few seconds with the seconds waited so far.

    Raises: as `read_inbox`.
    """
    _check_watch(timeout_s, task_id, priority)
    await session.called()
    await session.can_read()
    began = time.monotonic()
    async with session.lock:
        await outcomes.confirm(session, session.shown)

    places: AbstractSet[str] = EVERYTHING

    def look() -> Coroutine[Any, Any, Inbox]:
        if task_id:
            return _one_result(session, task_id)
        return _new(session, limit, priority, places)

    while True:
        session.stirred.clear()
        session.stir.clear()
        left = timeout_s - (time.monotonic() - began)
        try:
            inbox = await _answer(session, look)
        except (BusUnreachable, Unconfirmed):
            if left <= 0 or not await session.bus.reconnected(left):
                raise
            places = EVERYTHING
            continue
        if not inbox.empty:
            return inbox
        if left <= 0:
            return replace(inbox, timed_out=True)
        if waiting:
            await waiting(time.monotonic() - began)
        places = EVERYTHING
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(left, _LOOK_AGAIN_S)):
                await session.stirred.wait()
                places = frozenset(session.stir)
        # Only what was there before may come back by itself: `agentbus server stop` stands.
        if not await session.bus.reconnected(max(timeout_s - (time.monotonic() - began), 0)):
            raise BusUnreachable


def _check_watch(timeout_s: float, task_id: str | None, priority: Priority | None) -> None:
    if not 0 <= timeout_s <= WATCH_MAX_S:
        raise BadInput(f"timeout_s is {timeout_s}.", hint=f"Use 0 to {WATCH_MAX_S} seconds.")
    if priority is not None and priority not in LANES:
        raise BadInput(f"{priority!r} is no priority.", hint="Use high, normal or low.")
    if task_id is not None:
        ids.task_id(task_id)


async def _answer(session: Session, look: Callable[[], Coroutine[Any, Any, Inbox]]) -> Inbox:
    """Return what `look` brings; what it took without an answer to show for it is as before."""

    async def told() -> Inbox:
        with _shown_or_not(session):
            inbox = await look()
        session.untold.difference_update(item.task.id for item in inbox.tasks)
        return inbox

    return await session.settled(told, lambda inbox: _undo(session, inbox))


@contextlib.contextmanager
def _shown_or_not(session: Session) -> Iterator[None]:
    """See that a result which was about to be shown when something failed is shown later."""
    before = dict(session.shown)
    try:
        yield
    except BaseException:
        for task_id, one in list(session.shown.items()):
            if before.get(task_id) is not one:
                del session.shown[task_id]
                session.news.add(task_id)
        raise


async def _read(session: Session, limit: int, after: int) -> Inbox:
    open_claims = [claim for claim in session.claims.values() if claim.number > after]
    notes = await _check_claims(session, open_claims[:limit])
    shown = [claim for claim in open_claims[:limit] if claim.task.id in session.claims]
    taken = Taken()
    if len(shown) < limit:
        taken = await claiming.take(session, limit - len(shown))
    results, degraded = await _results(session, limit)
    waiting = await _waiting(session, taken)
    last = [*shown, *taken.claims][-1:]
    more = last and (len(open_claims) > limit or waiting)
    return Inbox(
        tasks=(*map(_item, shown), *(replace(_item(claim), new=True) for claim in taken.claims)),
        results=tuple(results),
        waiting=waiting,
        degraded=taken.degraded or degraded,
        notes=(*notes, *taken.notes),
        next_cursor=f"claim-{last[0].number}" if more else None,
        held=len(session.claims),
    )


async def _new(
    session: Session, limit: int, priority: Priority | None, places: AbstractSet[str]
) -> Inbox:
    """Return what is new in `places`: everywhere at first, then where something stirred."""
    lanes = [lane for lane in LANES if lane in places and priority in {None, lane}]
    # What a look that failed had claimed is as new as what this one claims.
    claims = [one for one in session.claims.values() if one.task.id in session.untold][:limit]
    taken = await claiming.take(session, limit - len(claims), lanes)
    claims += taken.claims
    results, degraded = await _results(session, limit) if RECORDS in places else ([], "")
    return Inbox(
        tasks=tuple(replace(_item(claim), new=True) for claim in claims),
        results=tuple(results),
        waiting=await _waiting(session, taken) if claims or results else {},
        degraded=taken.degraded or degraded,
        notes=tuple(taken.notes),
        held=len(session.claims),
    )


async def _one_result(session: Session, task_id: str) -> Inbox:
    found = await outcomes.result_of(session, task_id)
    return Inbox(results=(found,) if found else (), held=len(session.claims))


async def _peek(session: Session, limit: int, thread_id: str | None, cursor: str | None) -> Inbox:
    seen = await lookup.peek(session, limit, thread_id, cursor)
    results, degraded = await _results(session, limit, thread_id)
    held = [
        _item(claim)
        for claim in session.claims.values()
        if thread_id is not None and claim.task.thread_id == thread_id
    ]
    waiting = [
        Item(one.task, one.state, holder=one.holder)
        for one in seen.seen
        if one.task.id not in session.claims or thread_id is None
    ]
    return Inbox(
        tasks=(*held, *waiting),
        results=tuple(results),
        waiting=await _waiting(session, Taken()),
        degraded=degraded,
        notes=seen.notes,
        next_cursor=seen.next_cursor,
        held=len(session.claims),
        peeked=True,
    )


async def _results(
    session: Session, limit: int, thread_id: str | None = None
) -> tuple[list[Record], str]:
    """Return new results, and why there may be more: tasks are shown even if results fail."""
    try:
        with _shown_or_not(session):
            return await outcomes.results(session, limit, thread_id), ""
    except (AgentbusError, TimeoutError) as error:
        reason = error.message if isinstance(error, AgentbusError) else "the server did not answer"
        return [], f"results could not be read: {reason}"


async def _check_claims(session: Session, claims: Sequence[Claim]) -> list[str]:
    """Let go of claims that are no longer this session's; return what to say about them."""
    said = await together(*(_check_claim(session, claim) for claim in claims))
    return [note for note in said if note]


async def _check_claim(session: Session, claim: Claim) -> str:
    task = claim.task
    record, revision = await read_record(session.bus, task.sender, task.to, task.id)
    if record is None or revision == claim.revision:
        return ""
    if record.session == session.id and not record.ended:  # ours, though nobody confirmed it
        session.hold(replace(claim, record=record, revision=revision))
        return ""
    session.let_go(task.id)
    if record.ended:
        await session.bus.finish(claim.delivery)
        return f"Task {task.id} is over: {record.state}. This session no longer holds it."
    return f"Task {task.id} was taken over by another session while this one did not answer."


async def _waiting(session: Session, taken: Taken) -> dict[Priority, int]:
    """Return how many tasks wait, by priority; the server is asked where no pull has told it."""
    lanes = [lane for lane in LANES if lane not in taken.waiting]
    asked = await streams.waiting_by_lane(session.bus, session.inboxes, lanes)
    waiting = taken.waiting | asked
    return {lane: waiting[lane] for lane in LANES if waiting[lane]}


async def _undo(session: Session, inbox: Inbox) -> None:
    """Give back what a cancelled call has taken: nobody was shown it."""
    reason = "the call that claimed it was cancelled"
    for item in inbox.tasks:
        claim = session.claims.get(item.task.id)
        if claim and item.new:
            with contextlib.suppress(AgentbusError):  # then it is offered again by itself
                await session.give_back(claim, counts=False, reason=reason)
    for record in inbox.results:
        with contextlib.suppress(AgentbusError):
            await outcomes.unshow(session, record)


def _item(claim: Claim) -> Item:
    return Item(claim.task, claim.record.state, claim.record.attempts)


def _after(cursor: str | None) -> int:
    if cursor is None:
        return -1
    prefix, _, number = cursor.partition("-")
    if prefix != "claim" or not number.isdecimal() or len(number) > 12:
        raise BadInput(
            "The cursor is not one of this inbox.", hint="Use next_cursor of the answer before."
        )
    return int(number)
