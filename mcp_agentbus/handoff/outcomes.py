# SPDX-License-Identifier: Apache-2.0
"""What became of the tasks that an agent sent: shown to a session, until it has seen it.

    >>> shown = await results(session, 20)      # shown again and again ...
    >>> await confirm(session, session.shown)   # ... until this, at the session's next call

A result goes to the session that sent the task while it lives, else to any session of its agent.
A task whose deadline passed without a word from its worker's side is ended here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

from mcp_agentbus.bus.replies import Conflict, Delivery
from mcp_agentbus.core.aio import together
from mcp_agentbus.core.text import now
from mcp_agentbus.errors import AgentbusError, UnknownTask
from mcp_agentbus.handoff.session import Session, Shown
from mcp_agentbus.store import codec, roster, subjects
from mcp_agentbus.store.records import (
    first_record,
    read_record,
    read_sent,
    step,
    write_record,
    write_sent,
)
from mcp_agentbus.store.subjects import RESULTS
from mcp_agentbus.store.task import TOLD, Record, Sent

# How soon another session's result is offered again; it is told of it in another way besides.
_NOT_MINE_S: Final = 2.0
# How often deadlines of tasks that another session sent are looked at.
_SWEEP_S: Final = 60.0
_BATCH: Final = 100
# A timer that fires early would be set again for nothing.
_AFTER_DEADLINE_S: Final = 0.05


async def results(session: Session, limit: int, thread_id: str | None = None) -> list[Record]:
    """Return records of this agent's tasks that it should see now.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    await _sweep(session)
    found: list[Record] = []
    for task_id in sorted(session.news):
        if len(found) < limit and (record := await _own_news(session, task_id)):
            found.append(record)
    while len(found) < limit:
        wanted = min(_BATCH, limit - len(found))
        deliveries = await session.bus.pull(
            RESULTS, subjects.results_consumer(session.me.id), wanted
        )
        for delivery in deliveries:
            record = await _look_at(session, delivery)
            if record and thread_id not in {None, record.thread_id}:
                session.shown.pop(record.task_id, None)
                await session.bus.give_back(delivery, _NOT_MINE_S)
            elif record:
                found.append(record)
        if len(deliveries) < wanted:
            break
    return found


async def confirm(session: Session, shown: Mapping[str, Shown]) -> None:
    """Note that the session has seen these; what cannot be noted is shown again."""
    outcomes = await asyncio.gather(
        *(_confirm(session, one) for one in list(shown.values())), return_exceptions=True
    )
    for one, outcome in zip(list(shown.values()), outcomes, strict=True):
        if outcome is None:
            session.shown.pop(one.record.task_id, None)
        elif not isinstance(outcome, AgentbusError):
            raise outcome


async def result_of(session: Session, task_id: str) -> Record | None:
    """Return what became of a task that this agent sent; None while there is nothing to tell.

    Raises:
        UnknownTask: this agent sent no such task.
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    await _sweep(session)
    bus, me = session.bus, session.me.id
    (record, revision), (sent, _) = await asyncio.gather(
        read_record(bus, me, "*", task_id), read_sent(bus, me, "*", task_id)
    )
    if record is None and sent is None:
        raise UnknownTask(
            f"{me} sent no task {task_id}.",
            hint="Only the sender waits for a result; send_task's receipt names the task_id.",
        )
    seen = sent.seen_revision if sent else 0
    if record is None or record.state not in TOLD:
        return None
    if not record.ended and seen >= revision:
        return None  # the same question is not asked twice
    session.news.discard(task_id)
    before = session.shown.get(task_id)
    session.shown[task_id] = Shown(record, revision, before.delivery if before else None)
    return record


async def unshow(session: Session, record: Record) -> None:
    """Undo the showing of a result whose answer never left."""
    shown = session.shown.pop(record.task_id, None)
    session.news.add(record.task_id)
    if shown and shown.delivery:
        await session.bus.give_back(shown.delivery)


async def _confirm(session: Session, one: Shown) -> None:
    bus, record = session.bus, one.record
    while True:
        sent, revision = await read_sent(bus, session.me.id, record.inbox, record.task_id)
        if sent is None or sent.seen_revision >= one.revision:
            break
        seen = sent.model_copy(
            update={"seen_revision": one.revision, "seen_at": now(), "closed": record.ended}
        )
        with suppress(Conflict):  # another session of this agent confirmed at the same moment
            await write_sent(bus, seen, revision)
            break
    if one.delivery:
        await bus.finish(one.delivery)


async def _own_news(session: Session, task_id: str) -> Record | None:
    """Return a task's record if there is something to tell about it, whoever pulled it."""
    session.news.discard(task_id)
    inbox = session.sent[task_id][0] if task_id in session.sent else "*"
    record, revision = await read_record(session.bus, session.me.id, inbox, task_id)
    if record is None or record.state not in TOLD:
        return None
    return await _tell(session, record, revision, None)


async def _look_at(session: Session, delivery: Delivery) -> Record | None:
    """Return the record in a delivery if this session should show it."""
    bus = session.bus
    try:
        record = codec.decode_record(delivery.subject, delivery.data)
    except codec.Undecodable:
        await bus.finish(delivery)  # the record stays as it is
        return None
    if record.state not in TOLD:
        await bus.finish(delivery)
        return None
    if record.owner_session not in {"", session.id} and (
        record.owner_session in await roster.live_sessions(bus, session.me.id)
    ):
        await bus.give_back(delivery, _NOT_MINE_S)
        return None
    return await _tell(session, record, delivery.seq, delivery)


async def _tell(
    session: Session, record: Record, revision: int, delivery: Delivery | None
) -> Record | None:
    """Return the record and remember it as shown, unless the agent knows it already."""
    already = session.shown.get(record.task_id)
    if already and already.revision >= revision:
        if delivery and not already.delivery:
            session.shown[record.task_id] = replace(already, delivery=delivery)
        return None
    sent, _ = await read_sent(session.bus, session.me.id, record.inbox, record.task_id)
    if record.ended:
        session.sent.pop(record.task_id, None)
    if sent and sent.seen_revision >= revision:
        if delivery:
            await session.bus.finish(delivery)
        return None
    session.shown[record.task_id] = Shown(record, revision, delivery)
    return record


async def _sweep(session: Session) -> None:
    """End the tasks of this agent whose deadline has passed, whoever sent them.

    The sender's record of an open task lies in a consumer of its own and is given back until its
    deadline: JetStream keeps the time, across restarts, and nobody has to search.
    """
    due = any(deadline <= now() for _, deadline in session.sent.values())
    fresh = session.swept_at is not None and time.monotonic() - session.swept_at < _SWEEP_S
    if fresh and not due:
        return
    session.swept_at = time.monotonic()
    bus, me = session.bus, session.me.id
    while True:
        deliveries = await bus.pull(RESULTS, subjects.sent_consumer(me), _BATCH)
        await together(*(_check_deadline(session, one) for one in deliveries))
        if len(deliveries) < _BATCH:
            return


async def _check_deadline(session: Session, delivery: Delivery) -> None:
    bus = session.bus
    try:
        sent = codec.decode_sent(delivery.subject, delivery.data)
    except codec.Undecodable:
        await bus.finish(delivery)
        return
    left = (sent.expires_at - now()).total_seconds()
    if left > 0 and not sent.closed:
        await bus.give_back(delivery, after_s=left + _AFTER_DEADLINE_S)
        return
    if not sent.closed:
        await _expire(session, sent)
    await bus.finish(delivery)


async def _expire(session: Session, sent: Sent) -> None:
    """Write the end of a task whose deadline passed, unless it has an end."""
    bus = session.bus
    while True:
        record, revision = await read_record(bus, sent.owner, sent.inbox, sent.task_id)
        if record and record.ended:
            return
        with suppress(Conflict):  # its worker wrote at the same moment
            expired = step(
                record or first_record(sent),
                "expired",
                session.me.id,
                reason="its deadline passed without a result",
            )
            await write_record(bus, expired, revision)
            if sent.task_id in session.sent:  # another session's is told like any result
                session.news.add(sent.task_id)
            return
