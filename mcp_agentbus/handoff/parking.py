# SPDX-License-Identifier: Apache-2.0
"""Set aside what cannot go on, where a person finds it; offer it again on request.

    >>> [parked_task] = await parked(bus, "coder")
    >>> await replay(bus, ["coder"], str(parked_task.number))

A parked task is kept for 30 days, and the sender is told. It is stored among the parked ones
before it leaves the inbox, so a crash between the two parks it twice and loses it never.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Conflict, Delivery, Found, Stored
from mcp_agentbus.core import ids, text
from mcp_agentbus.errors import (
    AgentbusError,
    AlreadyEnded,
    NotAllowed,
    Refused,
    StoreFull,
    TooLarge,
    UnknownTask,
)
from mcp_agentbus.handoff.looking.own_agents import of_this_user
from mcp_agentbus.store import records, roster, subjects
from mcp_agentbus.store.reading import read_back
from mcp_agentbus.store.reading.clock import has_come
from mcp_agentbus.store.reading.numbered import numbered
from mcp_agentbus.store.records import Written, read_record, record_key, sent_key, write_record
from mcp_agentbus.store.steps import Lost, Write, first_record, sent_of, step
from mcp_agentbus.store.subjects import DEAD
from mcp_agentbus.store.task import HELD, Record, Sent, Task, Undecodable
from mcp_agentbus.store.upkeep import removal
from mcp_agentbus.store.upkeep.room import make_room

# Read at a time, of at most 512 KiB each.
_PAGE: Final = 100
# Headers that belong to the first storing, not to the task.
_NOT_REPLAYED: Final = ("Nats-", subjects.H_REASON, subjects.H_MOVED)
_LISTED: Final = "`agentbus parked` lists what is parked, with its id and number."
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
    stored = partial(_store, bus, delivery, aside, said, f"dead-{delivery.stream}", stream=DEAD)
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


async def _store(
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


async def replay(bus: Bus, inboxes: Sequence[str], which: str) -> Parked:
    """Offer a parked task again, as if it had just been sent; `which` is its id or number.

    Raises:
        BadInput: several parked tasks begin with it.
        UnknownTask: nothing parked in these inboxes has that id or number.
        Refused: its deadline has passed, or it was offered again before and has gone on since.
        AlreadyEnded: it has another end; what was parked of it is there no more.
        InboxFull, ...: as `Bus.publish`; then it stays parked.
    """
    chosen = await _named(bus, inboxes, which)
    if chosen.task and await has_come(bus, chosen.task.expires_at):
        raise Refused(
            f"The deadline of task {chosen.task.id} has passed; it would expire at once.",
            hint="Send it anew; `agentbus parked --json` shows its text.",
        )
    stored = await _stands(bus, chosen)
    if stored is None:
        what = f"{which[:70]!r} is parked no more: somebody else has just offered it again."
        raise UnknownTask(what, hint=_LISTED)
    lane, sender = subjects.parts(stored.subject).rest
    removed = partial(_remove, bus, chosen)
    begun = chosen.task and await _begin_anew(bus, sender, chosen.inbox, chosen.task.id)
    if isinstance(begun, Lost):
        await removed()
        raise _is_over(begun.record)
    try:
        lies_in = subjects.task_subject(chosen.inbox, lane, sender)
        offered = await _store(bus, stored, lies_in, {}, "replay", stream=subjects.TASKS)
    except Refused:
        if begun:
            with suppress(AgentbusError, Conflict):  # it says `stored` until it is offered again
                await _put_back(bus, begun)
        raise
    if chosen.task:
        lies_at = partial(_renewed, seq=offered.seq)
        await _renew_sent(bus, sender, chosen.inbox, chosen.task.id, lies_at)
    await removed()
    return chosen


async def _stands(bus: Bus, chosen: Parked) -> Found | None:
    """Return the message of a parked task; None if what has its number is gone, or another."""
    message = await numbered(bus, DEAD, chosen.number)
    return message if message and message.stored_at == chosen.parked_at else None


async def _remove(bus: Bus, chosen: Parked) -> None:
    if await _stands(bus, chosen):
        await bus.api(f"STREAM.MSG.DELETE.{DEAD}", {"seq": chosen.number})


def _is_over(record: Record) -> AlreadyEnded:
    return AlreadyEnded(
        f"Task {record.task_id} is over: {record.state}. It is not offered again, and what was "
        "parked of it is removed.",
        hint="`agentbus task ID` shows what came of it; what is still to be done is sent anew.",
    )


async def _named(bus: Bus, inboxes: Sequence[str], which: str) -> Parked:
    if named := await _parked_as(bus, inboxes, which):
        return named
    mine = set(of_this_user(bus.settings))
    whose = "your agents" if mine <= set(inboxes) else ids.address_of(inboxes[0])
    said = f"No task {which[:70]!r} is parked for {whose}"
    other = await _parked_as(bus, mine, which)
    if other is None or not ids.is_inbox(other.inbox):
        raise UnknownTask(f"{said}.", hint=_LISTED)
    to = ids.address_of(other.inbox)
    who = "An agent that holds" if ids.is_role_address(to) else "A session of"
    raise UnknownTask(f"{said}, but one is for {to}.", hint=f"{who} {to} can replay it.")


async def _parked_as(bus: Bus, inboxes: Collection[str], which: str) -> Parked | None:
    """Return the parked task that has this number, this id, or alone an id that begins so."""
    all_of_them = [each for inbox in inboxes for each in await parked(bus, inbox)]
    whole = ids.whole_task_id(which, {each.task.id for each in all_of_them if each.task})
    for candidate in all_of_them:
        if str(candidate.number) == which or (candidate.task and candidate.task.id == whole):
            return candidate
    return None


@dataclass(frozen=True)
class _Begun:
    """A task whose life was begun again, as it stood before."""

    record: Record
    #: By which that can be put back.
    revision: int
    #: Its sender had seen that it was set aside.
    was_seen: bool


async def _begin_anew(bus: Bus, sender: str, inbox: str, task_id: str) -> _Begun | Lost | None:
    """Begin a task's life again in its record, unless a session that lives holds the task.

    Returns:
        What was begun; None if the record stands there still. `Lost` if the task has an end other
        than that it was set aside: it is parked twice where somebody was cut off, and what was
        offered again once may be done.
    """
    key = record_key(sender, inbox, task_id)
    standing, revision = await records.read(bus, key)
    if standing is None or await roster.may_hold(bus, standing):
        return None
    before = standing

    def offered_again(record: Record | None) -> Write[Record] | Lost | None:
        nonlocal before
        if record and record.ended and record.state != "parked":
            return Lost(record)
        # Whoever parked it may have ended before the record said so: then a session stands there
        # that is gone. Any other has claimed it since, when somebody else offered it again.
        if record is None or (record.state in HELD and record.session != standing.session):
            return None
        if record.state == "stored" and not record.attempts:
            return None
        before = record
        reason = "offered again by a person"
        return Write(step(record, "stored", inbox, "", text.now(), attempts=0, reason=reason))

    written: Written[Record] | Lost | None
    written = await records.update(bus, key, offered_again, known=(standing, revision))
    if isinstance(written, Lost):
        return written
    was_seen = False

    def opened(sent: Sent | None) -> Write[Sent] | None:
        nonlocal was_seen
        was_seen = sent is not None and sent.closed
        return _renewed(sent, closed=False)

    # Its deadline is looked at again, which had ended for its sender.
    await _renew_sent(bus, sender, inbox, task_id, opened)
    return _Begun(before, written.revision, was_seen) if written else None


async def _put_back(bus: Bus, begun: _Begun) -> None:
    """Have a task be set aside as it was, of which its sender is not told once more.

    Raises: as `write_record`.
    """
    record = begun.record
    revision = await write_record(bus, record, begun.revision)
    if begun.was_seen:
        seen = partial(_renewed, closed=True, seen_revision=revision)
        await _renew_sent(bus, record.owner, record.inbox, record.task_id, seen)


async def _renew_sent(
    bus: Bus,
    sender: str,
    inbox: str,
    task_id: str,
    renewed: Callable[[Sent | None], Write[Sent] | None],
) -> None:
    with suppress(NotAllowed):  # its sender's account alone may write that
        await records.update(bus, sent_key(sender, inbox, task_id), renewed)


def _renewed(sent: Sent | None, **changes: Any) -> Write[Sent] | None:
    after = sent.model_copy(update=changes) if sent and not sent.unasked else sent
    return Write(after) if after and after != sent else None


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
