# SPDX-License-Identifier: Apache-2.0
"""Take what a lane offers, and before it what it has offered in an answer that was lost.

    >>> await pull(bus, streams.lane("coder", "high"), 5, nobodys)
    [Delivery(subject='agentbus.coder.tasks.high.planner', ...)]

What was handed out on a connection that ended, or by a server that was lost, is nobody's. A server
offers that again once the consumer's `ack_wait` has passed, and so behind what has come later. So
where a request had no answer, it is looked for at once, and claimed as any other: by its record,
which one session wins.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final
from weakref import WeakKeyDictionary

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Delivery, HandedOut
from mcp_agentbus.core.aio import together
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.store import streams, subjects, tasks
from mcp_agentbus.store.reading import pulls
from mcp_agentbus.store.records import lasts, record_in
from mcp_agentbus.store.streams import Consumer
from mcp_agentbus.store.task import Record, Undecodable


@dataclass
class _Doubt:
    """What is known of the answers that a consumer's readers have got on one bus."""

    #: As the bus counted what it got no answer to, when all was well.
    unanswered: int
    #: By `time.monotonic`, since when it is not; None: it is.
    since: float | None = None


_doubts: Final[WeakKeyDictionary[Bus, dict[Consumer, _Doubt]]] = WeakKeyDictionary()


async def pull(
    bus: Bus,
    consumer: Consumer,
    batch: int,
    is_nobodys: Callable[[Record], bool],
    seen: Collection[int] = (),
) -> list[Delivery]:
    """Take up to `batch` tasks from a lane, oldest first; the last tells how many wait behind it.

    Args:
        bus: on which nobody else reads this lane meanwhile for the same session.
        consumer: a lane's.
        batch: at most so many.
        is_nobodys: tells of the record of a task that was claimed whether its claim came to nobody.
        seen: the sequences of what was looked at before, and is to be offered later.

    Raises: as `pulls.pull`.
    """
    lost = [each for each in await _lost(bus, consumer, is_nobodys) if each.seq not in seen]
    if len(lost) >= batch:
        return _first(lost, batch, lost[0].waiting)
    try:
        pulled = await pulls.pull(bus, consumer, batch - len(lost))
    except HandedOut:
        if lost:
            return _first(lost, batch, lost[0].waiting)
        raise
    with suppress(AgentbusError):  # what was pulled is returned, whatever comes after
        # The first of these pulls may have had no answer, and the second brought what comes later.
        again = await _lost(bus, consumer, is_nobodys)
        lost += [each for each in again if each.seq not in seen]
    if not lost:
        return pulled
    # A server that knows that an answer was lost has offered the same anew.
    by_seq = {delivery.seq: delivery for delivery in (*lost, *pulled)}
    ordered = [by_seq[seq] for seq in sorted(by_seq)]
    own = {delivery.seq for delivery in pulled}
    await together(*(bus.give_back(each) for each in ordered[batch:] if each.seq in own))
    return _first(ordered, batch, pulled[-1].waiting if pulled else 0)


def _first(ordered: Sequence[Delivery], batch: int, waiting: int) -> list[Delivery]:
    """Return the first of what may be taken, of a consumer where so many wait behind all of it."""
    *before, last = ordered[:batch]
    return [*before, replace(last, waiting=waiting + len(ordered[batch:]))]


async def _lost(
    bus: Bus, consumer: Consumer, is_nobodys: Callable[[Record], bool]
) -> list[Delivery]:
    """Return what is handed out and nobody's, oldest first; nothing is asked while all is well."""
    doubt = _doubts.setdefault(bus, {}).setdefault(consumer, _Doubt(bus.unanswered))
    if doubt.unanswered != bus.unanswered:
        doubt.unanswered, doubt.since = bus.unanswered, time.monotonic()
    if doubt.since is None:
        return []
    out = await bus.handed_out(consumer.stream, consumer.name, consumer.subject)
    lost = await _unclaimed(bus, out, is_nobodys)
    # After so long a server offers by itself what there was.
    if not lost or time.monotonic() - doubt.since > streams.ACK_WAIT_S:
        doubt.since = None
    return lost


async def _unclaimed(
    bus: Bus, out: Sequence[Delivery], is_nobodys: Callable[[Record], bool]
) -> list[Delivery]:
    """Return those whose records do not say that somebody has them, or that they are over."""
    places: dict[str, Delivery] = {}
    for each in out:
        with suppress(Undecodable):  # whoever is offered it next sets it aside
            task = tasks.decoded(each)
            places[subjects.record_subject(task.sender, task.to, task.id)] = each
    messages = await lasts(bus, list(places))
    records = {message.subject: record_in(message) for message in messages}
    lost = []
    for subject, each in places.items():
        record = records.get(subject)
        if record is None:
            lost.append(each)
        elif record.state == "stored" or is_nobodys(record):
            # Whoever takes it goes by its record, as with all that is offered again.
            lost.append(replace(each, offered=2))
    return lost
