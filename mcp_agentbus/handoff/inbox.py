# SPDX-License-Identifier: Apache-2.0
"""What an agent reads: tasks it holds, tasks it gets, results of tasks it sent.

    >>> inbox = await read_inbox(session, limit=5)
    >>> inbox.tasks[0].task.subject, inbox.results, inbox.waiting
    ('Count the tests', (), {'normal': 3})

Reading claims what it returns, each task for one call; peeking claims nothing. An empty answer
means an empty inbox: what could not be read raises, or is named in `degraded`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial
from typing import Any, Final

from mcp_agentbus.bus.budget import one_call, renew
from mcp_agentbus.core import ids, text
from mcp_agentbus.core.aio import both
from mcp_agentbus.core.ids import LANES, Priority
from mcp_agentbus.errors import BadInput, BusUnreachable, Unconfirmed
from mcp_agentbus.handoff.call import Call, Given
from mcp_agentbus.handoff.claim import Claim
from mcp_agentbus.handoff.dispatch import outgoing
from mcp_agentbus.handoff.ends import news
from mcp_agentbus.handoff.intake import lanes, only, references, rest
from mcp_agentbus.handoff.intake.answer import Inbox, Item
from mcp_agentbus.handoff.intake.turn import Turn, note_what_arrived
from mcp_agentbus.handoff.intake.watches import Watch, back
from mcp_agentbus.handoff.reports import entrusted, questions
from mcp_agentbus.handoff.session import EVERYTHING, RECORDS, Session
from mcp_agentbus.handoff.views import glances

LIMIT_MAX: Final = 50
# What nobody asked for more of: as many tasks are held then, as many results shown.
FILL: Final = 5
WATCH_MAX_S: Final = 3600
_Look = Callable[[], Coroutine[Any, Any, Inbox]]


@one_call
@outgoing.telling_too
async def read_inbox(
    session: Session,
    *,
    limit: int | None = None,
    peek: bool = False,
    thread_id: str | None = None,
    cursor: str | None = None,
    call: Call | None = None,
) -> Inbox:
    """Return this session's claims, those given before by `given_at`, new tasks and new results.

    Args:
        session: the reader's session.
        limit: claim so many, 1 to 50, and show as many results; None: claim until 5 are held.
        peek: claim nothing; show what waits.
        thread_id: only what belongs to this conversation; claims nothing.
        cursor: `next_cursor` of the answer before.
        call: the call that has begun with this; None: it is one of its own.

    Raises:
        BadInput: a value breaks its rule.
        Refused: the session was started for one task alone, and this shows others.
        BusUnreachable, Unconfirmed, NotAllowed: the inbox could not be read at all.
    """
    _check_limit(limit)
    if thread_id is not None:
        ids.label(thread_id, "thread id")
    with session.calls.within(call) as this:
        await session.called()
        await note_what_arrived(session, this)
        if session.only:
            if peek or thread_id is not None:
                raise only.refused(session)
            look = partial(_only, session, this, reads=True)
        elif peek or thread_id is not None:
            look = partial(_peek, session, limit or FILL, thread_id, cursor, take=not peek)
        else:
            look = partial(_read, session, this, limit, references.number_of(cursor))
        return await _in_turn(session, this, look)


@one_call
@outgoing.telling_too
async def watch_inbox(
    session: Session,
    *,
    timeout_s: float = 45,
    task_id: str | Sequence[str] | None = None,
    enough: int | None = None,
    priority: Priority | None = None,
    limit: int | None = None,
    waiting: Callable[[float], Awaitable[None]] | None = None,
    call: Call | None = None,
) -> Inbox:
    """Wait for something new: a task, a result, or the results of certain tasks.

    New is also what an answer gave that may not have arrived; this one names it.

    Args:
        session: the reader's session.
        timeout_s: give up after so many seconds, 0 to 3600; that is a normal, empty answer.
        task_id: wait for what becomes of this task, or of all of these, and claim nothing; at the
            time limit of those that have become something.
        enough: so many of these are; None: all.
        priority: claim only tasks of this priority.
        limit: claim up to so many; None: one while other calls wait besides, else until 5 are held.
        waiting: called every few seconds with the seconds waited so far.
        call: as in `read_inbox`.

    Raises: as `read_inbox`.
    """
    # Of no task at all nothing comes, and whoever waits for tasks claims none: it is no task's id.
    awaited = [] if task_id is None else list(text.check_texts(task_id, "task_id")) or [""]
    check_watch(timeout_s, awaited, priority)
    _check_limit(limit)
    with session.calls.within(call) as this, session.watches.begun() as watch:
        await session.called()
        await note_what_arrived(session, this)

        def look(places: AbstractSet[str], *, last: bool) -> Coroutine[Any, Any, Inbox]:
            if awaited:
                return _outcomes(session, awaited, enough, last=last)
            if session.only:
                return _only(session, this, last=last)
            return _new(session, this, limit, priority, places, last=last)

        return await _wait(
            lambda places, last: _in_turn(session, this, partial(look, places, last=last)),
            session, watch, timeout_s, waiting,
        )  # fmt: skip


async def _wait(
    look: Callable[[AbstractSet[str], bool], Awaitable[Inbox]],
    session: Session,
    watch: Watch,
    timeout_s: float,
    waiting: Callable[[float], Awaitable[None]] | None,
) -> Inbox:
    """Look until there is something, or the time is over."""
    began = time.monotonic()
    places: AbstractSet[str] = EVERYTHING
    while True:
        watch.clear()
        left_s = timeout_s - (time.monotonic() - began)
        try:
            inbox = await look(places, left_s <= 0)
        except (BusUnreachable, Unconfirmed):
            left_s = timeout_s - (time.monotonic() - began)
            if left_s <= 0:
                raise
            await back(session.bus, left_s)
            renew()
            places = EVERYTHING
            continue
        if not inbox.empty:
            return inbox
        if left_s <= 0:
            return replace(inbox, timed_out=True)
        if waiting:
            await waiting(time.monotonic() - began)
        places = await watch.look_due(left_s) or EVERYTHING
        # Only what was there before may come back by itself: `agentbus server stop` stands.
        await back(session.bus, max(timeout_s - (time.monotonic() - began), 0))
        renew()


async def _in_turn(session: Session, call: Call, look: _Look) -> Inbox:
    """Look when it is this call's turn, and count what is found as given."""
    await session.can_read()  # since its call began its user may have given it a role
    async with Turn(session, call) as turn:
        inbox = turn.give(await turn.take(look()))
        entrusted.note_given(session, call)
        return inbox


def _check_limit(limit: int | None) -> None:
    if limit is not None:
        text.check_number(limit, "limit", 1, LIMIT_MAX, hint=f"Use 1 to {LIMIT_MAX}.", kind=int)


def check_watch(
    timeout_s: float, task_ids: Sequence[str] = (), priority: Priority | None = None
) -> None:
    """See that a wait may be asked for.

    Raises:
        BadInput: a value breaks its rule.
    """
    hint = f"Use 0 to {WATCH_MAX_S} seconds."
    text.check_number(timeout_s, "timeout_s", 0, WATCH_MAX_S, hint=hint)
    if priority is not None and priority not in LANES:
        raise BadInput(f"{priority!r} is no priority.", hint="Use high, normal or low.")
    for task_id in task_ids:
        ids.task_id(task_id)


async def _read(session: Session, call: Call, limit: int | None, after: int) -> Inbox:
    """Return open claims from number `after` on, then newly claimed tasks, and new results."""
    notes = await session.claims.check(session.claims.after(after))
    held, is_cut = _of_held(session, limit or FILL, after)
    wanted = _wanted(session, held, limit, after)
    places: Sequence[Priority] = LANES if wanted > 0 else ()
    if not places and limit is None:
        places = ("high",)  # what is urgent does not wait for the end of the others
    take = partial(lanes.take, session, max(wanted, 1))
    taken, results = await both(take(places), news.results(session, limit or FILL, call))
    is_new = bool(taken.claims or notes or taken.notes or results.any)
    left = await rest.as_told(session, taken) if is_new or held else rest.InboxRest({})
    told = taken.waiting if places else left.waiting
    if not (is_new or (held and any(told.values()))):
        looked_up = news.none() if held else news.looked_up(session, limit or FILL)
        looked = rest.looked_at_to_take(session, taken, take, places)
        results, (taken, left) = await both(looked_up, looked)
    tasks = (*held, *map(_new_item, taken.claims))
    named = held if is_cut else tasks
    goes_on = is_cut or (limit is not None and bool(left.waiting))
    inbox = Inbox(
        tasks=tasks,
        **results.of_inbox(limit or FILL),
        **left._asdict(),
        degraded=taken.degraded or results.degraded,
        notes=(*notes, *taken.notes),
        next_cursor=session.claims.cursor(named[-1].task.id) if goes_on and named else None,
        held=len(session.claims),
    )
    return await entrusted.with_answers(session, call, inbox, lines=after < 0)


def _not_given(session: Session, priority: Priority | None) -> list[Claim]:
    """Return the claims with which a wait ends, as no answer has given them yet.

    No word that a shell has begun to read is among them: it would end each wait of a shell at once.
    """
    claims = session.claims.to_give(priority)
    return [each for each in claims if each.task.expect == "answer" or not session.leased]


def _wanted(session: Session, held: Sequence[Item], limit: int | None, after: int) -> int:
    """Return how many tasks a reading is to claim besides those that it names as held.

    A word is no work: one whose reader leaves its end unread is not to keep a task from it.
    """
    if limit is None:
        work = sum(claim.task.expect == "answer" for claim in session.claims.values())
        return min(FILL - work, LIMIT_MAX - len(session.claims))
    if session.leased and after < 0:
        return limit  # no command of a shell knows what those before it have printed
    return limit - sum(item.given_at is None for item in held)


def _of_held(session: Session, limit: int, after: int) -> tuple[list[Item], bool]:
    """Return what a reading names of the open claims, and whether there are more of them.

    Up to `limit` of those that no answer has given are whole; so many others have room besides.
    """
    items: list[Item] = []
    whole = 0
    for claim in session.claims.after(after):
        given = session.claims.given(claim.task.id)
        whole += given is None
        if whole > limit or len(items) >= LIMIT_MAX:
            return items, True
        items.append(_line(claim, given) if given else _item(claim))
    return items, False


async def _new(
    session: Session,
    call: Call,
    limit: int | None,
    priority: Priority | None,
    places: AbstractSet[str],
    *,
    last: bool,
) -> Inbox:
    """Return what is new in `places`: everywhere at first, then where something came in.

    The `last` look, which says that nothing is there, looks at what other sessions have taken, too,
    and names whatever may not have arrived, though it was given while this call waited.
    """
    by = None if last else call
    unsure = [each for each in session.claims.values() if each.unsure]
    notes = await session.claims.check(unsure) if unsure else []
    lines = [
        _line(claim, given)
        for claim in session.claims.values()
        if priority in {None, claim.task.priority}
        if (given := session.claims.given(claim.task.id)) and given.is_doubtful(by)
    ]
    wanted = [lane for lane in LANES if lane in places and priority in {None, lane}]
    take = partial(lanes.take_for_one if limit is None else lanes.take, session, limit or FILL)
    # Of the other lanes the answer says how many wait there: asked beside, it waits for no more.
    others = [lane for lane in LANES if lane not in wanted]
    taking = take(wanted, _not_given(session, priority)[:limit])
    asked = news.results(session, FILL, by) if RECORDS in places or last else news.none()
    (taken, told), results = await both(both(taking, rest.offered(session, others)), asked)
    left: rest.InboxRest | None = None
    if last and not (lines or taken.claims or notes or taken.notes or results.any):
        lanes_too = [lane for lane in LANES if priority in {None, lane}]
        looked = rest.looked_at_to_take(session, taken, take, lanes_too)
        results, (taken, left) = await both(news.looked_up(session, FILL), looked)
    inbox = Inbox(
        tasks=(*lines, *map(_new_item, taken.claims)),
        **results.of_inbox(FILL),
        **(left._asdict() if left else {}),
        degraded=taken.degraded or results.degraded,
        notes=(*notes, *taken.notes),
        held=len(session.claims),
    )
    inbox = await entrusted.with_answers(session, by, inbox)
    if left or inbox.empty:
        return inbox
    return replace(inbox, **(await rest.as_told(session, taken, told))._asdict())


async def _only(session: Session, call: Call, *, last: bool = False, reads: bool = False) -> Inbox:
    """Return the one task that a session was started for: as it stands if it `reads`, else as news.

    The `last` look of one that waits is as that of `_new`.
    """
    by = None if last else call
    notes = await session.claims.check([*session.claims.values()])
    given = {task_id: session.claims.given(task_id) for task_id in session.claims}
    items = [
        _line(claim, at) if (at := given[task_id]) else _new_item(claim)
        for task_id, claim in session.claims.items()
        if reads or (at := given[task_id]) is None or at.is_doubtful(by)
    ]
    if not session.claims and not notes:
        taken = await only.claim(session)
        if isinstance(taken, only.Gone):
            notes = [taken.note]
        else:
            items = [_new_item(taken)]
    inbox = Inbox(tasks=tuple(items), notes=tuple(notes), held=len(session.claims))
    return await questions.with_answers(session.bus, session.claims, by, inbox)


async def _outcomes(
    session: Session, task_ids: Sequence[str], enough: int | None, *, last: bool
) -> Inbox:
    """Return what became of sent tasks once that is known of enough, or at the `last` look."""
    at_bus = [each for each in task_ids if not await outgoing.is_outgoing(session, each)]
    results = tuple(await session.outcomes.results_of(at_bus))
    if len(results) < (enough or len(task_ids)) and not last:
        results = ()
    inbox = Inbox(results=results, held=len(session.claims))
    return await questions.with_replies(session.bus, inbox)


async def _peek(
    session: Session, limit: int, thread_id: str | None, cursor: str | None, *, take: bool
) -> Inbox:
    """Return what waits, and new results; of one conversation also what this session holds."""
    glance = await glances.peek(session, limit, thread_id, cursor)
    results = await news.looked_up(session, limit, thread_id, take=take)
    held = [
        _item(claim)
        for claim in session.claims.values()
        if thread_id is not None and claim.task.thread_id == thread_id
    ]
    others = [
        Item(seen.task, seen.state, holder=seen.holder)
        for seen in glance.seen
        if seen.task.id not in session.claims or thread_id is None
    ]
    inbox = Inbox(
        tasks=(*held, *others),
        **results.of_inbox(limit),
        **(await rest.looked_at(session))._asdict(),
        degraded=results.degraded,
        notes=glance.notes,
        next_cursor=glance.next_cursor,
        held=len(session.claims),
        peeked=True,
        thread_id=thread_id,
    )
    return await questions.with_replies(session.bus, inbox)


def _item(claim: Claim, **more: Any) -> Item:
    return Item(claim.task, claim.record.state, claim.record.attempts, **more)


def _line(claim: Claim, given: Given) -> Item:
    return _item(claim, given_at=given.at)


def _new_item(claim: Claim) -> Item:
    return _item(claim, new=not claim.found)
