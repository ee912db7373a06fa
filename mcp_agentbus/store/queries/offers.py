# SPDX-License-Identifier: Apache-2.0
"""Take what a lane offers, and before it what it has offered to somebody who has not got it.

    >>> await pull(bus, consumers.lane("coder", "high"), 5, is_nobodys)
    [Delivery(subject='agentbus.coder.tasks.high.planner', ...)]

What was handed out on a connection that ended, or by a server that was lost, is nobody's, and so is
what was given back in a word that was lost. A server offers that again once the consumer's
`ack_wait` has passed, and so behind what has come later. So where a request had no answer, or more
waits than is offered, it is looked for at once, and claimed as any other: by its record, which one
session wins.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final
from weakref import WeakKeyDictionary

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Delivery, HandedOut
from mcp_agentbus.core.aio import together
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.store import subjects
from mcp_agentbus.store.queries import consumers, pulls, read_back
from mcp_agentbus.store.queries.consumers import Consumer
from mcp_agentbus.store.records import lasts, record_in
from mcp_agentbus.store.task import Record, Task, Undecodable

#: Tells of each task that was handed out, by its record if it has one, whether nobody has it.
AreNobodys = Callable[[Sequence[tuple[Task, Record | None]]], Awaitable[Sequence[bool]]]


# As so many offers counts what is taken here and was offered before.
_OFFERED_AGAIN: Final = 2


@dataclass
class _Doubt:
    """What is known of the answers that a consumer's readers have got on one bus."""

    #: As the bus counted what it got no answer to, when all was well.
    unanswered: int
    #: By `time.monotonic`, since when something may be handed out to nobody; None: it is not.
    since: float | None = None


_doubts: Final[WeakKeyDictionary[Bus, dict[Consumer, _Doubt]]] = WeakKeyDictionary()


async def pull(
    bus: Bus,
    consumer: Consumer,
    batch: int,
    are_nobodys: AreNobodys,
    seen: Collection[int] = (),
) -> list[Delivery]:
    """Take up to `batch` tasks from a lane, oldest first; the last tells how many wait behind it.

    Args:
        bus: on which nobody else reads this lane meanwhile for the same session.
        consumer: a lane's.
        batch: at most so many.
        are_nobodys: tells what of that which was handed out is to be taken.
        seen: the sequences of what was looked at before, and is to be offered later.

    Raises: as `pulls.pull`.
    """
    lost = [each for each in await _lost(bus, consumer, are_nobodys) if each.seq not in seen]
    # How often a task was offered bounds how often it counts as claimed: so that this does not end
    # at a number made up here, the server offers such a one to this very pull.
    often = [each for each in lost if each.offered > _OFFERED_AGAIN]
    await together(*(bus.give_back(each) for each in often))
    lost = [each for each in lost if each.offered <= _OFFERED_AGAIN]
    if len(lost) >= batch:  # a server does not count as waiting what it is to offer anew
        return _first(lost, batch, lost[0].waiting + len(often))
    try:
        pulled = await pulls.pull(bus, consumer, batch - len(lost))
    except HandedOut:
        if lost:
            return _first(lost, batch, lost[0].waiting)
        raise
    with suppress(AgentbusError):  # what was pulled is returned, whatever comes after
        # The first of these pulls may have had no answer, and the second brought what comes later.
        again = await _lost(bus, consumer, are_nobodys)
        lost += [each for each in again if each.seq not in seen and each.offered <= _OFFERED_AGAIN]
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


def doubt(bus: Bus, consumer: Consumer) -> None:
    """Have the next pull look at what was handed out: more is known to wait than is offered."""
    _doubts.setdefault(bus, {})[consumer] = _Doubt(bus.unanswered, time.monotonic())


async def _lost(bus: Bus, consumer: Consumer, are_nobodys: AreNobodys) -> list[Delivery]:
    """Return what is handed out and nobody's, oldest first; nothing is asked while all is well."""
    known = _doubts.setdefault(bus, {}).setdefault(consumer, _Doubt(bus.unanswered))
    if known.unanswered != bus.unanswered:
        known.unanswered, known.since = bus.unanswered, time.monotonic()
    since = known.since
    if since is None:
        return []
    out = await bus.handed_out(consumer.stream, consumer.name, consumer.subject)
    lost = await _unclaimed(bus, out, are_nobodys)
    # After so long a server offers by itself what there was; meanwhile others may have looked, too.
    if known.since == since and (not lost or time.monotonic() - since > consumers.ACK_WAIT_S):
        known.since = None
    return lost


async def _unclaimed(bus: Bus, out: Sequence[Delivery], are_nobodys: AreNobodys) -> list[Delivery]:
    """Return those whose records do not say that somebody has them, or that they are over."""
    places: dict[str, tuple[Task, Delivery]] = {}
    for each in out:
        with suppress(Undecodable):  # whoever is offered it next sets it aside
            task = read_back.decoded(each)
            places[subjects.record_subject(task.sender, task.to, task.id)] = task, each
    messages = await lasts(bus, list(places))
    records = {message.subject: record_in(message) for message in messages}
    known = [(task, records.get(subject)) for subject, (task, _) in places.items()]
    return [
        # Whoever takes it goes by its record, as with all that is offered again.
        replace(each, offered=_offers(record)) if record else each
        for (_, each), (_, record), is_free in zip(
            places.values(), known, await are_nobodys(known), strict=True
        )
        if is_free
    ]


def _offers(record: Record) -> int:
    """Return how often a task was offered at least, with one more; not what was claimed unheard."""
    in_vain = record.attempts + 1 if record.state == "stored" else _OFFERED_AGAIN
    return max(_OFFERED_AGAIN, in_vain)
