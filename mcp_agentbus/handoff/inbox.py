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
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from mcp_agentbus.bus.budget import one_call, renew
from mcp_agentbus.core import ids
from mcp_agentbus.core.aio import both, together
from mcp_agentbus.core.ids import LANES, Priority
from mcp_agentbus.errors import AgentbusError, BadInput, BusUnreachable, Unconfirmed
from mcp_agentbus.handoff import lanes, lookup
from mcp_agentbus.handoff.claims import Claim
from mcp_agentbus.handoff.lanes import Taken
from mcp_agentbus.handoff.session import EVERYTHING, RECORDS, Session
from mcp_agentbus.handoff.turn import Inbox, Item, Turn
from mcp_agentbus.store import waiting
from mcp_agentbus.store.task import Record

LIMIT_MAX: Final = 50
WATCH_MAX_S: Final = 3600
# How often a waiting call looks without being told to: a dead session's claims come back silently.
_LOOK_AGAIN_S: Final = 5.0
# How soon after a notice by which a look found nothing: it may overtake what the server hands out.
_OVERTAKEN_S: Final = (0.1, 0.5)


@one_call
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
    await _note_that_the_last_answer_arrived(session)
    if peek or thread_id is not None:
        return await _shown(session, _peek(session, limit, thread_id, cursor, show=not peek))
    return await _shown(session, _read(session, limit, _after(cursor)))


@one_call
async def watch_inbox(
    session: Session,
    *,
    timeout_s: float = 45,
    task_id: str | Sequence[str] | None = None,
    priority: Priority | None = None,
    limit: int = 5,
    waiting: Callable[[float], Awaitable[None]] | None = None,
) -> Inbox:
    """Wait for something new: a task, a result, or the results of certain tasks.

    Args:
        session: the reader's session.
        timeout_s: give up after so many seconds, 0 to 3600; that is a normal, empty answer.
        task_id: wait for what becomes of this task, or of all of these, and claim nothing; at the
            time limit of those that have become something.
        priority: claim only tasks of this priority.
        limit: at most this many tasks.
        waiting: called every few seconds with the seconds waited so far.

    Raises: as `read_inbox`.
    """
    awaited = [task_id] if isinstance(task_id, str) else list(task_id or ())
    check_watch(timeout_s, awaited, priority)
    await session.called()
    await session.can_read()
    began = time.monotonic()
    await _note_that_the_last_answer_arrived(session)
    places: AbstractSet[str] = EVERYTHING
    overtaken: Iterator[float] = iter(())
    while True:
        session.arrivals.clear()
        left_s = timeout_s - (time.monotonic() - began)
        try:
            last = left_s <= 0
            if awaited:
                inbox = await _shown(session, _outcomes(session, awaited, last=last))
            else:
                inbox = await _shown(session, _new(session, limit, priority, places, last=last))
        except (BusUnreachable, Unconfirmed):
            left_s = timeout_s - (time.monotonic() - began)
            if left_s <= 0 or not await session.bus.reconnected(left_s):
                raise
            renew()
            places = EVERYTHING
            continue
        if not inbox.empty:
            return inbox
        if left_s <= 0:
            return replace(inbox, timed_out=True)
        if waiting:
            await waiting(time.monotonic() - began)
        news = await _news(session, min(left_s, next(overtaken, _LOOK_AGAIN_S)))
        places = news or EVERYTHING
        overtaken = iter(_OVERTAKEN_S) if news else overtaken
        # Only what was there before may come back by itself: `agentbus server stop` stands.
        if not await session.bus.reconnected(max(timeout_s - (time.monotonic() - began), 0)):
            raise BusUnreachable
        renew()


async def _news(session: Session, within_s: float) -> AbstractSet[str]:
    """Wait for a notice; return where something came in, which is nowhere if the time is over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            return await session.arrivals.wait()
    return frozenset()


async def _shown(session: Session, look: Coroutine[Any, Any, Inbox]) -> Inbox:
    """Take what a look finds, and count it as shown."""
    async with Turn(session) as turn:
        return turn.show(await turn.take(look))


async def _note_that_the_last_answer_arrived(session: Session) -> None:
    """A session that calls again has got the answer of its call before, and what that showed."""
    async with session.lock:
        await session.outcomes.confirm()


def check_watch(
    timeout_s: float, task_ids: Sequence[str] = (), priority: Priority | None = None
) -> None:
    """See that a wait may be asked for.

    Raises:
        BadInput: a value breaks its rule.
    """
    if not 0 <= timeout_s <= WATCH_MAX_S:
        raise BadInput(f"timeout_s is {timeout_s}.", hint=f"Use 0 to {WATCH_MAX_S} seconds.")
    if priority is not None and priority not in LANES:
        raise BadInput(f"{priority!r} is no priority.", hint="Use high, normal or low.")
    for task_id in task_ids:
        ids.task_id(task_id)


class _Left(NamedTuple):
    """What inboxes hold besides what is shown."""

    #: As `Inbox.waiting`.
    waiting: dict[Priority, int]
    #: As `Inbox.held_elsewhere`.
    held_elsewhere: int = 0


@dataclass(frozen=True)
class _Results:
    """The results of an answer."""

    records: Sequence[Record] = ()
    #: As `Inbox.results_elsewhere`.
    elsewhere: int = 0
    #: Why they could not be read; empty if they could.
    degraded: str = ""

    def of_inbox(self, limit: int) -> dict[str, Any]:
        """Return what an `Inbox` says of them."""
        return {
            "results": tuple(self.records),
            "more_results": len(self.records) == limit,
            "results_elsewhere": self.elsewhere,
        }


async def _read(session: Session, limit: int, after: int) -> Inbox:
    """Return open claims from number `after` on, then newly claimed tasks, and new results."""
    open_claims = [claim for claim in session.claims.values() if claim.number > after]
    notes = await session.claims.check(open_claims[:limit])
    shown = [claim for claim in open_claims[:limit] if claim.task.id in session.claims]
    taken = Taken()
    if len(shown) < limit:
        taken = await lanes.take(session, limit - len(shown))
    results = await _results(session, limit)
    if shown or taken.claims or notes or taken.notes or results.records or results.degraded:
        left = await _waiting(session, taken)
    else:
        results, left = await both(_looked_up(session, limit), _looked_at(session))
    last = [*shown, *taken.claims][-1:]
    more = last and (len(open_claims) > limit or left.waiting)
    return Inbox(
        tasks=(*map(_item, shown), *map(_new_item, taken.claims)),
        **results.of_inbox(limit),
        **left._asdict(),
        degraded=taken.degraded or results.degraded,
        notes=(*notes, *taken.notes),
        next_cursor=f"claim-{last[0].number}" if more else None,
        held=len(session.claims),
    )


async def _new(
    session: Session,
    limit: int,
    priority: Priority | None,
    places: AbstractSet[str],
    *,
    last: bool,
) -> Inbox:
    """Return what is new in `places`: everywhere at first, then where something came in.

    The `last` look, which says that nothing is there, looks at what other sessions have taken, too.
    """
    wanted = [lane for lane in LANES if lane in places and priority in {None, lane}]
    # What a look that failed had claimed is as new as what this one claims.
    claims = [
        claim
        for claim in session.claims.values()
        if claim.task.id in session.claims.unshown and priority in {None, claim.task.priority}
    ][:limit]
    taken = await lanes.take(session, limit - len(claims), wanted)
    claims += taken.claims
    results = await _results(session, limit) if RECORDS in places else _Results()
    left = _Left({})
    if claims or results.records:
        left = await _waiting(session, taken)
    elif last and not (taken.notes or results.degraded):
        results, left = await both(_looked_up(session, limit), _looked_at(session))
    return Inbox(
        tasks=tuple(map(_new_item, claims)),
        **results.of_inbox(limit),
        **left._asdict(),
        degraded=taken.degraded or results.degraded,
        notes=tuple(taken.notes),
        held=len(session.claims),
    )


async def _outcomes(session: Session, task_ids: Sequence[str], *, last: bool) -> Inbox:
    """Return what became of sent tasks once that is known of all, or at the `last` look of some."""
    before = dict(session.outcomes.shown)
    records = [await session.outcomes.result_of(task_id) for task_id in task_ids]
    results = tuple(record for record in records if record)
    if len(results) < len(task_ids) and not last:
        session.outcomes.hide(before)
        results = ()
    return Inbox(results=results, held=len(session.claims))


async def _peek(
    session: Session, limit: int, thread_id: str | None, cursor: str | None, *, show: bool
) -> Inbox:
    """Return what waits, and new results; of one conversation also what this session holds."""
    glance = await lookup.peek(session, limit, thread_id, cursor)
    results = await _looked_up(session, limit, thread_id, show=show)
    held = [
        _item(claim)
        for claim in session.claims.values()
        if thread_id is not None and claim.task.thread_id == thread_id
    ]
    left = await _looked_at(session)
    others = [
        Item(seen.task, seen.state, holder=seen.holder)
        for seen in glance.seen
        if seen.task.id not in session.claims or thread_id is None
    ]
    return Inbox(
        tasks=(*held, *others),
        **results.of_inbox(limit),
        **left._asdict(),
        degraded=results.degraded,
        notes=glance.notes,
        next_cursor=glance.next_cursor,
        held=len(session.claims),
        peeked=True,
        thread_id=thread_id,
    )


async def _results(session: Session, limit: int) -> _Results:
    """Return new results, and why there may be more: tasks are shown even if results fail."""
    before = dict(session.outcomes.shown)
    try:
        return _Results(await session.outcomes.results(limit))
    except AgentbusError as error:
        session.outcomes.hide(before)
        return _Results(degraded=_unreadable(error))


async def _looked_up(
    session: Session, limit: int, thread_id: str | None = None, *, show: bool = True
) -> _Results:
    """Return results as they are stored, whoever has taken them; `show` counts them as shown."""
    try:
        looked = await session.outcomes.look_up(limit, thread_id)
    except AgentbusError as error:
        return _Results(degraded=_unreadable(error))
    if show:
        session.outcomes.show(looked.results)
    return _Results([end.record for end in looked.results], looked.elsewhere)


def _unreadable(error: AgentbusError) -> str:
    return f"results could not be read: {error.message}"


async def _waiting(session: Session, taken: Taken) -> _Left:
    """Return what the inboxes hold besides, as the pulls have told, or the server does."""
    not_told = [lane for lane in LANES if lane not in taken.waiting]
    asked = await waiting.offered(session.bus, session.inboxes, not_told)
    counts = taken.waiting | asked
    return _Left({lane: counts[lane] for lane in LANES if counts[lane]})


async def _looked_at(session: Session) -> _Left:
    """Return the same by a look at each task: for an answer that says that nothing is new."""
    looks = (waiting.look_together(session.bus, session.inboxes, lane) for lane in LANES)
    lanes_now = await together(*looks)
    counts = {lane: now.count for lane, now in zip(LANES, lanes_now, strict=True) if now.count}
    return _Left(counts, max(0, sum(now.held for now in lanes_now) - len(session.claims)))


def _item(claim: Claim) -> Item:
    return Item(claim.task, claim.record.state, claim.record.attempts)


def _new_item(claim: Claim) -> Item:
    return Item(claim.task, claim.record.state, claim.record.attempts, new=not claim.found)


def _after(cursor: str | None) -> int:
    """Return the number of the last claim that the answer before has shown; -1 without one."""
    if cursor is None:
        return -1
    prefix, _, number = cursor.partition("-")
    if prefix != "claim" or not number.isdecimal() or len(number) > 12:
        raise BadInput(
            "The cursor is not one of this inbox.", hint="Use the cursor of the answer before."
        )
    return int(number)
