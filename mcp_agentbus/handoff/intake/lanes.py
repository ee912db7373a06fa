# SPDX-License-Identifier: Apache-2.0
"""The lanes of a session's inboxes: take what waits in them, each task for one session only.

    >>> (await take(session, 5)).claims
    [Claim(task=Task(subject='Count the tests', ...), ...)]

Taking a message from a lane is not yet a claim: the claim is the record, written only if nobody
else has written it. What turns out to be over already (finished before a crash, cancelled, expired)
is removed and not shown; what cannot be read, or was claimed too often, is parked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from mcp_agentbus.bus.replies import Conflict, Delivery, HandedOut
from mcp_agentbus.core import text
from mcp_agentbus.core.ids import LANES, ROLE_PREFIX, Priority
from mcp_agentbus.errors import AgentbusError, Refused
from mcp_agentbus.handoff.claim import Claim
from mcp_agentbus.handoff.intake import refusals
from mcp_agentbus.handoff.intake.brought import Brought
from mcp_agentbus.handoff.intake.refusals import Refusal
from mcp_agentbus.handoff.parked import parking
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import queues, roster, subjects
from mcp_agentbus.store.queries import consumers, offers, read_back
from mcp_agentbus.store.queries.clock import has_come
from mcp_agentbus.store.records import read_record, write_record
from mcp_agentbus.store.steps import first_record, sent_of, step
from mcp_agentbus.store.task import ATTEMPTS_MAX, HELD, Record, Repeating, Task, Undecodable
from mcp_agentbus.store.upkeep import removal

# A task of an agent's own inbox that is offered this often and that nobody could even claim is
# parked: something is wrong with it that no record tells.
OFFERS_MAX: Final = 50
# How soon, in seconds, a task is offered again that its session still holds.
_HELD_AGAIN_S: Final = 5.0
# The same, at most, for one whose id another task has; each time it is longer, for `OFFERS_MAX`.
_NAMESAKE_AGAIN_MAX_S: Final = 300.0
# The same for one that cannot be parked: room is made by people.
_NO_ROOM_AGAIN_S: Final = 3600.0

_log = logging.getLogger(__name__)


@dataclass
class _Lane:
    """What one lane of one inbox brought."""

    claims: list[Claim] = field(default_factory=list)
    #: How many more wait there; None if it was not asked.
    waiting: int | None = None
    notes: list[str] = field(default_factory=list)
    degraded: str = ""


@dataclass(frozen=True)
class _Over:
    """A delivery whose task has ended; it was finished."""


@dataclass(frozen=True)
class _Held:
    """A delivery whose task a session holds, this one or another."""


@dataclass(frozen=True)
class _Parked:
    """A delivery that was set aside."""

    note: str


async def take(
    session: Session,
    limit: int,
    lanes: Sequence[Priority] = LANES,
    before: Sequence[Claim] = (),
) -> Brought:
    """Claim waiting tasks from `lanes`, in their order, up to `limit` with those claimed `before`.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`; what was claimed until then is
            held, and not given to any reader.
    """
    await _offer_namesakes(session)
    taken = Brought(list(before))
    # One lane is asked itself: whoever has heard of a task there waits for it.
    stocked = await queues.stocked(session.bus, session.inboxes) if len(lanes) > 1 else None
    taken.nothing_stored = stocked == frozenset()
    for priority in lanes:
        for inbox in session.inboxes:
            if stocked is not None and (inbox, priority) not in stocked:
                taken.waiting.setdefault(priority, 0)
                continue
            lane = await _take_lane(session, inbox, priority, limit - len(taken.claims))
            taken.claims += lane.claims
            taken.notes += lane.notes
            taken.degraded = lane.degraded or taken.degraded
            if lane.waiting is not None:
                taken.waiting[priority] = taken.waiting.get(priority, 0) + lane.waiting
            elif len(taken.claims) >= limit:
                # What the inboxes before told of this lane is not the whole of it.
                taken.waiting.pop(priority, None)
                return taken
    return taken


async def take_for_one(
    session: Session, fill: int, lanes: Sequence[Priority], before: Sequence[Claim] = ()
) -> Brought:
    """Claim for one call that waits: a task, and if no other waits besides until `fill` are held.

    Of those that were claimed `before` it has as many at most.

    Raises: as `take`.
    """
    room = fill - (len(session.claims) - len(before))
    first = await take(session, 1, lanes, before[:1])
    # By now whoever called at the same moment waits.
    if session.watches.count > 1 or not first.claims or room <= 1 or _has_all(first, lanes):
        return first
    taken = await take(session, room, lanes, [*first.claims, *before[1:room]])
    notes = [*first.notes, *taken.notes]
    return replace(taken, notes=notes, degraded=first.degraded or taken.degraded)


def _has_all(taken: Brought, lanes: Sequence[Priority]) -> bool:
    """Tell whether the pulls that brought it have left nothing in these lanes, as they count it."""
    is_counted = not any(claim.was_offered for claim in taken.claims)
    return is_counted and all(taken.waiting.get(lane) == 0 for lane in lanes)


async def _take_lane(session: Session, inbox: str, priority: Priority, limit: int) -> _Lane:
    """Claim up to `limit` tasks from one lane."""
    lane = _Lane()
    consumer = consumers.lane(inbox, priority)
    pull = partial(offers.pull, session.bus, consumer, are_nobodys=partial(_are_nobodys, session))
    seen: set[int] = set()
    while len(lane.claims) < limit:
        wanted = limit - len(lane.claims)
        try:
            deliveries = await pull(wanted, seen=seen)
        except HandedOut:
            lane.degraded = (
                f"all tasks that may be claimed at once in {inbox}'s {priority} lane are claimed"
            )
            break
        lane.waiting = deliveries[-1].waiting if deliveries else 0
        seen.update(delivery.seq for delivery in deliveries)
        first_of: dict[str, Delivery] = {}
        outcomes = await asyncio.gather(
            *(_claim(session, delivery, first_of) for delivery in deliveries),
            return_exceptions=True,
        )
        for outcome in outcomes:  # in the order of the inbox, whoever was claimed first
            if isinstance(outcome, Claim):
                lane.claims.append(session.claims.hold(outcome))
            elif isinstance(outcome, _Parked):
                lane.notes.append(outcome.note)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        if len(deliveries) < wanted:
            break
    return lane


async def _are_nobodys(session: Session, out: Sequence[tuple[Task, Record | None]]) -> list[bool]:
    """Tell of tasks that were handed out, by their records, which this session may claim at once.

    Raises: as `refusals.refusal`.
    """
    places = {(task.sender, task.to) for task, record in out if _is_free(session, task, record)}
    left = set()
    for place in places:
        refused = await refusals.refusal(session.bus, session.refreshed(), *place)
        if refused and refused.is_left:
            left.add(place)
    return [
        _is_free(session, task, record) and (task.sender, task.to) not in left
        for task, record in out
    ]


def _is_free(session: Session, task: Task, record: Record | None) -> bool:
    """Tell whether nobody has a task, and it may be claimed without knowing how often it was."""
    if task.id in session.claims:  # of two that have one id, one waits until the other is done
        return False
    if record is None or session.claims.is_unheard(record):
        return True
    return record.state == "stored" and record.attempts < ATTEMPTS_MAX


async def _offer_namesakes(session: Session) -> None:
    """Have those offered again whose id no held task has any more."""
    for seq, (task_id, delivery) in list(session.namesakes.items()):
        if task_id not in session.claims:
            del session.namesakes[seq]
            with suppress(AgentbusError):  # it is offered again by itself
                await session.bus.give_back(delivery)


async def _claim(
    session: Session, delivery: Delivery, first_of: dict[str, Delivery]
) -> Claim | _Over | _Held | _Parked:
    """Claim one delivery, unless it is over, somebody's already, or not to be claimed at all.

    `first_of` has the first delivery of this look that has an id, by the ids.
    """
    try:
        task = read_back.decoded(delivery)
    except Repeating:  # doctor names the schedule; it comes so often that to say so were a flood
        await removal.finish(session.bus, delivery)
        return _Over()
    except Undecodable as error:
        parked = parking.park_undecodable(session.bus, delivery, session.me.id, str(error))
        return await _set_aside(session, delivery, "A stored message", str(error), parked)
    first, held = first_of.setdefault(task.id, delivery), session.claims.get(task.id)
    if first is not delivery or (held and not _are_one(held.task, task)):
        # Whoever writes plain NATS chooses ids. A worker names a task by its id alone, so of two
        # that have the same, one is answered after the other.
        session.namesakes[delivery.seq] = (task.id, delivery)
        pause_s = min(_HELD_AGAIN_S * delivery.offered, _NAMESAKE_AGAIN_MAX_S)
        await session.bus.give_back(delivery, after_s=pause_s)
        return _Held()
    refused = await refusals.refusal(session.bus, session.refreshed(), task.sender, task.to)
    is_first = delivery.offered == 1 and not refused
    if is_first and not await has_come(session.bus, task.expires_at):
        # At its first offer a task hardly ever has a record, and the write finds out.
        untouched = first_record(sent_of(task))
        outcome = await _write_claim(session, delivery, task, untouched, 0)
        if isinstance(outcome, Claim):
            return outcome
    return await _claim_by_record(session, delivery, task, refused)


def _are_one(task: Task, other: Task) -> bool:
    return (task.id, task.sender, task.to) == (other.id, other.sender, other.to)


async def _claim_by_record(
    session: Session, delivery: Delivery, task: Task, refused: Refusal | None
) -> Claim | _Over | _Held | _Parked:
    """Claim a task of which there may be a record, as that allows, and its agent's user."""
    bus = session.bus
    stored, revision = await read_record(bus, task.sender, task.to, task.id)
    if stored and stored.ended:
        # Withdrawn, expired, or its session stored the result and died before this step.
        await removal.finish(bus, delivery)
        return _Over()
    if stored and await _is_held(session, stored, delivery):
        return _Held()
    if stored and session.leased and stored.session == session.id and stored.state in HELD:
        claim = Claim(task, delivery, stored, revision, found=True)
        return claim if session.claims.missed(claim) else _Held()
    return await _claim_unheld(session, delivery, task, (stored, revision), refused)


async def _claim_unheld(
    session: Session,
    delivery: Delivery,
    task: Task,
    known: tuple[Record | None, int],
    refused: Refusal | None,
) -> Claim | _Over | _Held | _Parked:
    """Claim a task that is not over and that nobody holds, unless there is a reason not to."""
    bus, (stored, revision) = session.bus, known
    record = stored or first_record(sent_of(task))
    # Others may write any number. Before this offer it was claimed once for each of the earlier
    # ones, and it may have been without any: by its id.
    tried = min(record.attempts, delivery.offered)
    if task.expect == "nothing" and roster.is_lease(record):
        tried = max(0, tried - 1)  # its reader has begun with it, and may leave its end unread
    record = record.model_copy(update={"attempts": tried})
    if await has_come(bus, task.expires_at):
        await _expire(session, record, revision)
        await removal.finish(bus, delivery)
        return _Over()
    if refused:
        return await _refuse(session, delivery, (record, revision), refused)
    if reason := _hopeless(record if stored else None, delivery):
        parked = parking.park(bus, delivery, session.me.id, reason, (record, revision))
        return await _set_aside(session, delivery, f"Task {task.id}", reason, parked)
    return await _write_claim(session, delivery, task, record, revision)


async def _refuse(
    session: Session, delivery: Delivery, known: tuple[Record, int], refused: Refusal
) -> _Over | _Held:
    """End a task that its agent does not take, unread; one of a role is left to who takes it."""
    if refused.is_left:
        pause_s = min(_HELD_AGAIN_S * delivery.offered, _NAMESAKE_AGAIN_MAX_S)
        await session.bus.give_back(delivery, after_s=pause_s)
        return _Held()
    record, revision = known
    rejected = step(record, "rejected", session.me.id, "", text.now(), reason=refused.why)
    try:
        await write_record(session.bus, rejected, revision)
    except Conflict:  # somebody has ended or claimed it at the same moment
        return _Held()
    await removal.finish(session.bus, delivery)
    return _Over()


async def _set_aside(
    session: Session, delivery: Delivery, what: str, reason: str, parked: Awaitable[None]
) -> _Parked:
    """Park a delivery; where it cannot be, it stays in the inbox and keeps nobody waiting.

    Args:
        session: who reads.
        delivery: what is to be parked.
        what: the same in words.
        reason: why.
        parked: does it.
    """
    try:
        await parked
    except Refused as error:
        await session.bus.give_back(delivery, after_s=_NO_ROOM_AGAIN_S)
        stays = f"and stays in the inbox: {parking.why_not(error)}"
        return _Parked(f"{what} cannot be worked on ({reason}), {stays}")
    return _Parked(f"{what} was parked: {reason}. See `agentbus parked`.")


def _hopeless(record: Record | None, delivery: Delivery) -> str:
    """Return why a task is offered no more; empty if it is."""
    if record and record.attempts >= ATTEMPTS_MAX:
        return f"it was claimed {record.attempts} times without an end"
    # Of one with a record the offers do not count: while a shell holds it, it is offered, too. Nor
    # of a role's: each that holds it and does not take its sender gives it back without a trace.
    is_ours = not subjects.parts(delivery.subject).whose.startswith(ROLE_PREFIX)
    if record is None and is_ours and delivery.offered > OFFERS_MAX:
        return f"it was offered {delivery.offered} times, and nobody could claim it"
    return ""


async def _expire(session: Session, record: Record, revision: int) -> None:
    reason = "its deadline passed before anybody claimed it"
    expired = step(record, "expired", session.me.id, "", text.now(), reason=reason)
    with suppress(Conflict):  # its sender noticed at the same moment
        await write_record(session.bus, expired, revision)


async def _is_held(session: Session, record: Record, delivery: Delivery) -> bool:
    """Tell whether a task that was offered again is held all the same, by a session that lives.

    A server that was killed may have forgotten who has what.
    """
    if record.session == session.id and record.state in HELD:
        mine = session.claims.get(record.task_id)
        if mine and mine.delivery.seq != delivery.seq:  # the task was stored a second time
            session.claims.hold(replace(mine, delivery=delivery))
        return mine is not None
    if not await roster.may_hold(session.bus, record):
        return False
    if not roster.is_lease(record):
        await session.bus.give_back(delivery, after_s=_HELD_AGAIN_S)
    return True


async def _write_claim(
    session: Session, delivery: Delivery, task: Task, record: Record, revision: int
) -> Claim | _Held:
    claimed = step(
        record,
        "claimed",
        session.me.id,
        session.id,
        text.now(),
        attempts=record.attempts + 1,
        reason="",
    )
    try:
        revision = await write_record(session.bus, claimed, revision)
    except Conflict:
        # Another session got it between our two steps. Its delivery is not ours to give back:
        # JetStream would take that as the other one's word.
        _log.debug("task %s went to another session", task.id)
        return _Held()
    return Claim(task, delivery, claimed, revision)
