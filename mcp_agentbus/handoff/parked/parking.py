# SPDX-License-Identifier: Apache-2.0
"""Set aside what cannot go on, where a person finds it.

    >>> await park(bus, delivery, "coder", "it was claimed 5 times without an end", record)
    >>> [parked_task] = await parked(bus, "coder")

A parked task is kept for 30 days, and the sender is told. It is stored among the parked ones
before it leaves the inbox, so a crash between the two parks it twice and loses it never.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Conflict, Delivery, Found, Stored
from mcp_agentbus.core import ids, text
from mcp_agentbus.errors import (
    Refused,
    StoreFull,
    TooLarge,
)
from mcp_agentbus.store import roster, subjects
from mcp_agentbus.store.queries import read_back
from mcp_agentbus.store.queries.numbered import numbered
from mcp_agentbus.store.records import read_record, write_record
from mcp_agentbus.store.steps import first_record, sent_of, step
from mcp_agentbus.store.subjects import DEAD
from mcp_agentbus.store.task import Record, Task, Undecodable
from mcp_agentbus.store.upkeep import removal
from mcp_agentbus.store.upkeep.room import make_room

# Read at a time, of at most 512 KiB each.
_PAGE: Final = 100
# Headers that belong to the first storing, not to the task.
_NOT_REPLAYED: Final = ("Nats-", subjects.H_REASON, subjects.H_MOVED)
# The server takes any name of a header, and a client says those that HTTP would.
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True)
class Parked:
    """A task that was set aside."""

    #: Its sequence among the parked ones; names it even if it has no readable id.
    number: int
    inbox: str
    sender: str
    reason: str
    parked_at: datetime
    #: None if it could not be decoded.
    task: Task | None
    #: Size of the stored bytes.
    size: int


async def park(
    bus: Bus, delivery: Delivery, agent: str, reason: str, record: tuple[Record, int] | None
) -> None:
    """Set a delivery aside; end its record, if it has one, so that its sender is told.

    Args:
        bus: where it lies.
        delivery: what to set aside.
        agent: who does it.
        reason: this program's own text.
        record: the worker's record and its revision.

    Raises:
        StoreFull: no more can be parked; the delivery is as it was.
        TooLarge: it is as large as the server takes, and has no room for the reason.
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    inbox, _, (lane, sender) = subjects.parts(delivery.subject)
    said = {**_scheduled_by(delivery), subjects.H_REASON: reason}
    aside = subjects.dead_subject(inbox, lane, sender)
    stored = partial(
        store_moved, bus, delivery, aside, said, f"dead-{delivery.stream}", stream=DEAD
    )
    try:
        await stored()
    except StoreFull:
        # Where a gate stands, it makes room itself.
        if bus.settings.account or not await make_room(bus):
            raise
        await stored()
    if record:
        before, revision = record
        ended = step(before, "parked", agent, "", text.now(), reason=reason)
        with suppress(Conflict):  # another reader parked it at the same moment
            await write_record(bus, ended, revision)
    await removal.finish(bus, delivery)


async def store_moved(
    bus: Bus,
    moved: Delivery | Found,
    subject: str,
    said: Mapping[str, str],
    by: str,
    *,
    stream: str,
) -> Stored:
    """Store what is moved from another stream, once, however often that is begun.

    It is known by when it was stored, too: a stream that is made anew, or restored, gives the same
    numbers to others, which the server would drop and acknowledge.

    Raises:
        Refused: it was moved before, and what was moved has gone on from there.
        StoreFull, ...: as `Bus.publish`.
    """
    once = f"{by}-{moved.seq}-{text.stamp(moved.stored_at, timespec='microseconds')}"
    headers = {**_kept(moved.headers), **said, subjects.H_MOVED: str(moved.seq)}
    for message_id in (once, None):  # a gate gives its own
        stored = await bus.publish(
            subject, moved.data, headers, message_id=message_id, stream=stream
        )
        if not stored.duplicate:
            return stored
        there = await numbered(bus, stream, stored.seq, subject)
        if there and there.data == moved.data:
            return stored
    raise Refused(
        "It was moved from there a few minutes ago, and has gone on since. Nothing was changed.",
        hint="Look what became of it; the same again does it in ten minutes.",
    )


def why_not(refused: Refused) -> str:
    """Return why what was to be set aside could not be, and what to do about it."""
    match refused:
        case StoreFull():
            makes_room = "what is offered again from there makes room."
            return f"no more can be parked. Run `agentbus parked`: {makes_room}"
        case TooLarge():
            return (
                "with the reason it is larger than the bus server takes (its max_payload). Have "
                "whoever runs that raise it; else it stays until it is as old as the bus keeps it."
            )
    return f"it cannot be parked. {refused.message} {refused.hint}"


async def park_undecodable(bus: Bus, delivery: Delivery, agent: str, reason: str) -> None:
    """Set aside what is no task; tell its sender if a header still names the task."""
    inbox, _, (_, sender) = subjects.parts(delivery.subject)
    task_id = delivery.headers.get(subjects.H_TASK, "")
    record: tuple[Record, int] | None = None
    if ids.is_task_id(task_id) and ids.is_inbox(sender):
        before, revision = await read_record(bus, sender, inbox, task_id)
        # Whoever may write there names any task: one that is over, or worked on, is not this one.
        if before is None or not (before.ended or await roster.may_hold(bus, before)):
            record = (before or first_record(sent_of(_unread(delivery, task_id))), revision)
    await park(bus, delivery, agent, f"it could not be read: {reason}", record)


def _unread(delivery: Delivery, task_id: str) -> Task:
    """Return what is known of a task that could not be decoded."""
    inbox, _, (lane, sender) = subjects.parts(delivery.subject)
    return Task.model_validate(
        {
            "id": task_id,
            "from": sender,
            "to": inbox,
            "subject": "(could not be read)",
            "body": "",
            "priority": lane if lane in ids.LANES else "normal",
            "thread_id": task_id,
            "created_at": delivery.stored_at,
            "expires_at": delivery.stored_at,
        }
    )


async def parked(bus: Bus, inbox: str) -> list[Parked]:
    """Return the parked tasks of an inbox, oldest first.

    Raises:
        ApiError, BusUnreachable, NotAllowed: as `Bus.many`.
    """
    subject = subjects.dead_subject(inbox, "*", "*")
    pages = bus.stored(DEAD, subject, page=_PAGE)
    return [_parked(message) async for page in pages for message in page]


def floods_last(all_of_them: Iterable[Parked]) -> list[Parked]:
    """Return parked tasks so that those of who has few come first: a flood hides no other's."""
    listed = list(all_of_them)
    counts = Counter(each.sender for each in listed)
    return sorted(listed, key=lambda each: (counts[each.sender], each.sender, each.number))


def _scheduled_by(delivery: Delivery) -> dict[str, str]:
    scheduler = delivery.headers.get(subjects.H_SCHEDULER)
    return {subjects.H_SCHEDULED_BY: scheduler} if scheduler else {}


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        key: value
        for key, value in headers.items()
        if _TOKEN.fullmatch(key) and not key.startswith(_NOT_REPLAYED)
    }


def _parked(message: Found) -> Parked:
    inbox, _, (_, sender) = subjects.parts(message.subject)
    task: Task | None = None
    with suppress(Undecodable):
        task = read_back.decoded(message)
    return Parked(
        number=message.seq,
        inbox=inbox,
        sender=sender,
        reason=message.headers.get(subjects.H_REASON, "no reason kept"),
        parked_at=message.stored_at,
        task=task,
        size=len(message.data),
    )
