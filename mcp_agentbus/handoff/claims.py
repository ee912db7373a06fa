# SPDX-License-Identifier: Apache-2.0
"""Take waiting tasks for a session, each for one session only.

    >>> claims = (await take(session, 5)).claims

Taking a message from the inbox is not yet a claim: the claim is the record, written only if nobody
else has written it. What turns out to be over already (finished before a crash, cancelled, expired)
is removed and not shown; what cannot be read, or was claimed too often, is parked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, Final

from mcp_agentbus.bus.replies import Conflict, Delivery
from mcp_agentbus.core.ids import LANES, Priority
from mcp_agentbus.core.text import now
from mcp_agentbus.handoff import parking
from mcp_agentbus.handoff.session import Claim, Session
from mcp_agentbus.store import codec, subjects
from mcp_agentbus.store.records import (
    first_record,
    may_hold,
    read_record,
    sent_of,
    step,
    write_record,
)
from mcp_agentbus.store.subjects import TASKS
from mcp_agentbus.store.task import ATTEMPTS_MAX, CLAIM_MAX_S, HELD, Record, Task
from mcp_agentbus.store.tasks import check_schedule

# A task offered this often without even an attempt that counts is parked: something is wrong
# with it that no record tells.
OFFERS_MAX: Final = 50
# How soon a task is offered again that its session still holds.
_HELD_AGAIN_S: Final = 5.0

_log = logging.getLogger(__name__)


class Taken:
    """What one reading of the inboxes brought."""

    def __init__(self) -> None:
        self.claims: list[Claim] = []
        #: How many more wait, by priority, as far as the pulls told; a lane not asked is missing.
        self.waiting: dict[Priority, int] = {}
        #: What a reader should know besides, in this program's words.
        self.notes: list[str] = []
        #: Why the inbox could not be read as a whole; empty if it could.
        self.degraded = ""


async def take(session: Session, limit: int, lanes: Sequence[Priority] = LANES) -> Taken:
    """Claim up to `limit` waiting tasks from `lanes`, in their order.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    taken = Taken()
    for lane in lanes:
        for inbox in session.inboxes:
            waiting = await _take_lane(session, taken, inbox, lane, limit)
            if waiting is not None:
                taken.waiting[lane] = taken.waiting.get(lane, 0) + waiting
            elif len(taken.claims) >= limit:
                taken.waiting.pop(lane, None)
                return taken
    return taken


async def _take_lane(
    session: Session, taken: Taken, inbox: str, lane: Priority, limit: int
) -> int | None:
    """Claim from one lane; return how many more wait there, None if it was not asked."""
    waiting: int | None = None
    while len(taken.claims) < limit:
        wanted = limit - len(taken.claims)
        try:
            deliveries = await session.bus.pull(TASKS, subjects.lane_consumer(inbox, lane), wanted)
        except TimeoutError:
            taken.degraded = (
                f"all tasks that may be claimed at once in {inbox}'s {lane} lane are claimed"
            )
            return waiting
        waiting = deliveries[-1].waiting if deliveries else 0
        outcomes = await asyncio.gather(
            *(_claim(session, one, taken) for one in deliveries), return_exceptions=True
        )
        for outcome in outcomes:  # in the order of the inbox, whoever was claimed first
            if isinstance(outcome, Claim):
                session.untold.add(outcome.task.id)
                session.hold(outcome)
                taken.claims.append(session.claims[outcome.task.id])
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        if len(deliveries) < wanted:
            break
    return waiting


async def _claim(session: Session, delivery: Delivery, taken: Taken) -> Claim | None:
    """Claim one delivery, unless it is over, unreadable or somebody else's."""
    bus, me = session.bus, session.me.id
    try:
        task = codec.decode_task(
            delivery.subject, delivery.headers, delivery.data, delivery.stored_at
        )
        check_schedule(task, delivery)
        if delivery.offered == 1 and now() < task.expires_at:
            # At its first offer a task hardly ever has a record, and the write finds out.
            claim = await _write_claim(session, delivery, task, first_record(sent_of(task)), 0)
            if claim:
                return claim
        record, revision = await read_record(bus, task.sender, task.to, task.id)
    except codec.Undecodable as error:
        await parking.park_undecodable(bus, delivery, me, str(error))
        taken.notes.append(f"A stored message was parked: {error}. See `agentbus parked`.")
        return None
    if await _taken_care_of(session, delivery, task, (record, revision), taken):
        return None
    return await _write_claim(
        session, delivery, task, record or first_record(sent_of(task)), revision
    )


async def _taken_care_of(
    session: Session,
    delivery: Delivery,
    task: Task,
    found: tuple[Record | None, int],
    taken: Taken,
) -> bool:
    """Finish, park or put off a delivery that is not to be claimed; tell whether it was one."""
    bus, me = session.bus, session.me.id
    if found[0] and found[0].ended:
        # Withdrawn, expired, or its session stored the result and died before this step.
        await bus.finish(delivery)
        return True
    if found[0] and await _held(session, found[0], delivery):
        return True
    record, revision = found[0] or first_record(sent_of(task)), found[1]
    if now() >= task.expires_at:
        reason = "its deadline passed before anybody claimed it"
        with suppress(Conflict):  # its sender noticed at the same moment
            await write_record(bus, step(record, "expired", me, reason=reason), revision)
        await bus.finish(delivery)
        return True
    if record.attempts >= ATTEMPTS_MAX or delivery.offered > OFFERS_MAX:
        reason = f"it was claimed {record.attempts} times without an end"
        await parking.park(bus, delivery, me, reason, (record, revision))
        taken.notes.append(f"Task {task.id} was parked: {reason}. See `agentbus parked`.")
        return True
    return False


async def _held(session: Session, record: Record, delivery: Delivery) -> bool:
    """Tell whether a task that was offered again is held all the same, by a session that lives.

    A server that was killed may have forgotten who has what.
    """
    if record.session == session.id and record.state in HELD:
        if mine := session.claims.get(record.task_id):
            session.hold(replace(mine, delivery=delivery))
        return mine is not None
    if not await may_hold(session.bus, record):
        return False
    await session.bus.give_back(delivery, after_s=_HELD_AGAIN_S)
    return True


async def _write_claim(
    session: Session, delivery: Delivery, task: Task, record: Record, revision: int
) -> Claim | None:
    claimed = step(
        record, "claimed", session.me.id, session.id, attempts=record.attempts + 1, reason=""
    )
    try:
        revision = await write_record(session.bus, claimed, revision)
    except Conflict:
        # Another session got it between our two steps. Its delivery is not ours to give back:
        # JetStream would take that as the other one's word.
        _log.debug("task %s went to another session", task.id)
        return None
    if session.store is not None:
        # A shell's claim has no process to keep it: it is a lease.
        await session.bus.give_back(delivery, after_s=CLAIM_MAX_S)
    return Claim(task, delivery, claimed, revision)


def reference(claim: Claim) -> dict[str, Any]:
    """Return what a claim can be found by again, as JSON has it."""
    delivery = {**asdict(claim.delivery), "data": "", "headers": {}}
    return {**delivery, "stored_at": claim.delivery.stored_at.isoformat()}


def delivery_of(told: Mapping[str, Any]) -> Delivery:
    """Return a delivery from its reference.

    Raises:
        ValueError, LookupError, TypeError: it is none.
    """
    stored_at = datetime.fromisoformat(told["stored_at"])
    return Delivery(**{**told, "data": b"", "stored_at": stored_at})


def references(claims: Iterable[Claim]) -> list[dict[str, Any]]:
    """Return the references of all claims, in their order."""
    return [reference(claim) for claim in claims]


async def take_over(session: Session, told: Iterable[Mapping[str, Any]]) -> None:
    """Have a session hold again what an earlier process of it held.

    What was ended, given back or taken by another session meanwhile is left out.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`; call it again.
    """
    await session.called()
    for one in told:
        with suppress(ValueError, LookupError, TypeError, codec.Undecodable):
            claim = await _still_held(session, delivery_of(one))
            if claim:
                session.hold(claim)


async def _still_held(session: Session, taken: Delivery) -> Claim | None:
    request = {"seq": taken.seq, "batch": 1, "next_by_subj": taken.subject}
    for found in await session.bus.admin.many(taken.stream, request):
        if found.seq != taken.seq:
            continue
        task = codec.decode_task(found.subject, found.headers, found.data, found.stored_at)
        record, revision = await read_record(session.bus, task.sender, task.to, task.id)
        if record and record.session == session.id and record.state in HELD:
            return Claim(task, taken, record, revision)
    return None
