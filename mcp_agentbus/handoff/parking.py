# SPDX-License-Identifier: Apache-2.0
"""Set aside what cannot go on, where a person finds it; offer it again on request.

    >>> [one] = await parked(bus, "coder")
    >>> await replay(bus, ["coder"], str(one.number))

A parked task is kept for 30 days, and the sender is told. It is stored among the parked ones
before it leaves the inbox, so a crash between the two parks it twice and loses it never.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Conflict, Delivery, Found
from mcp_agentbus.core import ids
from mcp_agentbus.core.text import now
from mcp_agentbus.errors import Refused, UnknownTask
from mcp_agentbus.store import codec, subjects
from mcp_agentbus.store.records import first_record, read_record, sent_of, step, write_record
from mcp_agentbus.store.subjects import DEAD
from mcp_agentbus.store.task import Record, Task

_PAGE: Final = 500
# Headers that belong to the first storing, not to the task.
_NOT_REPLAYED: Final = ("Nats-", subjects.H_REASON)


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

    `reason` is this program's own text.

    Raises: as `Bus.publish`, but for Conflict.
    """
    inbox, _, (lane, sender) = subjects.parts(delivery.subject)
    await bus.publish(
        subjects.dead_subject(inbox, lane, sender),
        delivery.data,
        {**_kept(delivery.headers), subjects.H_REASON: reason},
        message_id=f"dead-{delivery.stream}-{delivery.seq}",
    )
    if record:
        with suppress(Conflict):  # another reader parked it at the same moment
            await write_record(bus, step(record[0], "parked", agent, reason=reason), record[1])
    await bus.finish(delivery)


async def park_undecodable(bus: Bus, delivery: Delivery, agent: str, reason: str) -> None:
    """Set aside what is no task; tell its sender if a header still names the task."""
    inbox, _, (lane, sender) = subjects.parts(delivery.subject)
    task_id = delivery.headers.get(subjects.H_TASK, "")
    record: tuple[Record, int] | None = None
    if ids.is_task_id(task_id) and ids.is_inbox(sender):
        old, revision = await read_record(bus, sender, inbox, task_id)
        at = delivery.stored_at
        task = Task.model_validate(
            {
                "id": task_id,
                "from": sender,
                "to": inbox,
                "subject": "(could not be read)",
                "body": "",
                "priority": lane if lane in ids.LANES else "normal",
                "thread_id": task_id,
                "created_at": at,
                "expires_at": at,
            }
        )
        record = (old or first_record(sent_of(task)), revision)
    await park(bus, delivery, agent, f"it could not be read: {reason}", record)


async def parked(bus: Bus, inbox: str) -> list[Parked]:
    """Return the parked tasks of an inbox, oldest first.

    Raises:
        ApiError, BusUnreachable, NotAllowed: as `Bus.many`.
    """
    found: list[Found] = []
    while True:
        request = {
            "seq": found[-1].seq + 1 if found else 1,
            "batch": _PAGE,
            "next_by_subj": subjects.dead_subject(inbox, "*", "*"),
        }
        some = await bus.admin.many(DEAD, request)
        found += some
        if len(some) < _PAGE:
            break
    return [_parked(one) for one in found]


async def replay(bus: Bus, inboxes: Sequence[str], which: str) -> Parked:
    """Offer a parked task again, as if it had just been sent; `which` is its id or number.

    Raises:
        UnknownTask: nothing parked in these inboxes has that id or number.
        Refused: its deadline has passed.
        InboxFull, ...: as `Bus.publish`; then it stays parked.
    """
    all_parked = [one for inbox in inboxes for one in await parked(bus, inbox)]
    known = [one for one in all_parked if which in {str(one.number), one.task and one.task.id}]
    if not known:
        raise UnknownTask(
            f"No task {which[:70]!r} is parked for {ids.address_of(inboxes[0])!r}.",
            hint="`agentbus parked` lists what is parked, with its id and number.",
        )
    one = known[0]
    if one.task and now() >= one.task.expires_at:
        raise Refused(
            f"The deadline of task {one.task.id} has passed; it would expire at once.",
            hint="Send it anew; `agentbus parked --json` shows its text.",
        )
    admin = bus.admin
    [stored] = await admin.many(DEAD, {"seq": one.number, "batch": 1})
    lane, sender = subjects.parts(stored.subject).rest
    if one.task:
        record, revision = await read_record(bus, sender, one.inbox, one.task.id)
        if record:
            again = step(
                record, "stored", one.inbox, attempts=0, reason="offered again by a person"
            )
            with suppress(Conflict):  # somebody else offers it again at the same moment
                await write_record(bus, again, revision)
    await admin.publish(
        subjects.task_subject(one.inbox, lane, sender),
        stored.data,
        _kept(stored.headers),
        message_id=f"replay-{one.number}",
    )
    await admin.api(f"STREAM.MSG.DELETE.{DEAD}", {"seq": one.number})
    return one


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in headers.items() if not key.startswith(_NOT_REPLAYED)}


def _parked(found: Found) -> Parked:
    inbox, _, (lane, sender) = subjects.parts(found.subject)
    try:
        task = codec.decode_task(
            subjects.task_subject(inbox, lane, sender), found.headers, found.data, found.stored_at
        )
    except codec.Undecodable:
        task = None
    return Parked(
        number=found.seq,
        inbox=inbox,
        sender=sender,
        reason=found.headers.get(subjects.H_REASON, "no reason kept"),
        parked_at=found.stored_at,
        task=task,
        size=len(found.data),
    )
