# SPDX-License-Identifier: Apache-2.0
"""Tasks as they lie on the bus: the one place that stores and reads them.

    >>> await put(bus, task)
    Kept(sent=Sent(task_id='9d0c...', ...), duplicate=False)

It says where a task goes and what it looks like there; whose turn it is, and whether it may be sent
at all, is the hand-off's business.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import (
    NO_SUCH_STREAM,
    ApiError,
    Delivery,
    Found,
    Stored,
    stream_differs,
)
from mcp_agentbus.config.machine_key import unforeseen
from mcp_agentbus.core import text
from mcp_agentbus.errors import AgentbusError, Refused, StoreFull, Unconfirmed
from mcp_agentbus.store import codec, streams, subjects
from mcp_agentbus.store.reading.clock import has_come
from mcp_agentbus.store.records import (
    Written,
    read_record,
    record_key,
    sent_key,
    update,
)
from mcp_agentbus.store.steps import Lost, Step, Write, first_record, next_record, sent_of
from mcp_agentbus.store.task import Record, Repeating, Sent, State, Task, Undecodable

# JetStream drops the oldest scheduled task when its stream is full, so stop well before.
_SCHEDULE_FULL_AT: Final = 0.9
# Stored tasks in one answer, each of which may have 512 KiB.
_PAGE: Final = 100


@dataclass(frozen=True)
class Kept:
    """A task that is on the server, and what its sender keeps of it."""

    sent: Sent
    #: It had been stored before; nothing was stored again.
    duplicate: bool


@dataclass(frozen=True)
class IdInUse:
    """Another request has this task's id already; nothing was stored."""


async def put(bus: Bus, task: Task, *, message_id: str | None = None) -> Kept | IdInUse:
    """Store a task, then its sender's record of it.

    In this order, so that a record never speaks of a task that was not stored. What is stored again
    under a `message_id` within 10 minutes is not stored twice; the task's id if not given.

    Raises:
        StoreFull: too many tasks wait for their time.
        Unconfirmed: the task is stored and its sender's record is not, or that is not known.
        InboxFull, BusUnreachable, NotAllowed: as `Bus.publish`.
    """
    stored = await store(bus, task, message_id=message_id)
    if isinstance(stored, IdInUse):
        return stored
    try:
        return await keep(bus, stored)
    except AgentbusError as error:
        mend = f"{error.cause} {error.hint}"
        what = "The task is stored, but not what its sender keeps of it."
        raise Unconfirmed(what, mend=mend if isinstance(error, Refused) else "") from None


async def store(bus: Bus, task: Task, *, message_id: str | None = None) -> Kept | IdInUse:
    """Store a task, and leave what its sender keeps of it to a `keep` that has to follow.

    Raises:
        StoreFull, InboxFull, BusUnreachable, Unconfirmed, NotAllowed: as `put`; nothing is stored,
            or that is not known.
    """
    stored = await _put_task(bus, task, message_id or task.id)
    if stored.duplicate and not await _is_stored(bus, task, stored.seq):
        return IdInUse()
    seq = 0 if task.deliver_at else stored.seq
    return Kept(sent_of(task).model_copy(update={"seq": seq}), stored.duplicate)


async def keep(bus: Bus, stored: Kept) -> Kept | IdInUse:
    """Write what the sender of a stored task keeps of it, unless that stands already.

    Raises:
        StoreFull, Refused, BusUnreachable, Unconfirmed, NotAllowed: as `records.update`; the task
            is stored.
    """
    sent = stored.sent

    def kept(standing: Sent | None) -> Write[Sent] | Kept | IdInUse:
        if standing is None or standing.unasked:  # a result was seen before its task was known
            return Write(sent)
        again = stored.duplicate or standing.seq != sent.seq  # else `Unkept` has written it by now
        return Kept(standing, again) if is_same(standing, sent) else IdInUse()

    key = sent_key(sent.owner, sent.inbox, sent.task_id)
    outcome: Written[Sent] | Kept | IdInUse = await update(bus, key, kept, known=(None, 0))
    return stored if isinstance(outcome, Written) else outcome


def is_same(before: Sent, task: Task | Sent) -> bool:
    """Tell whether a task is what its sender asked for before, by what it has kept of that."""
    if before.request and task.request:
        return before.request == task.request
    # An older version has kept no more.
    return (before.subject, before.priority) == (task.subject, task.priority)


async def _put_task(bus: Bus, task: Task, message_id: str) -> Stored:
    """Store a task where it waits to be claimed, or for its time."""
    headers, data = codec.task_headers(task), codec.encode_task(task)
    stream, subject = subjects.TASKS, subjects.task_subject(task.to, task.priority, task.sender)
    headers[subjects.H_PROOF] = _proof(bus, subject, headers, data)
    if task.deliver_at:
        headers |= {
            subjects.H_SCHEDULE: subjects.AT + text.stamp(task.deliver_at),
            "Nats-Schedule-Target": subjects.due_subject(task.to, task.priority, task.sender),
        }
        stream = subjects.SCHEDULE
        subject = subjects.scheduled_subject(task.to, task.priority, task.sender, task.id)
        await _check_schedule_has_room(bus, len(data))
    return await bus.publish(subject, data, headers, message_id=message_id, stream=stream)


def is_from_here(bus: Bus, message: Found) -> bool:
    """Tell whether this user has stored a task on this machine: anybody may write a sender's name.

    Raises:
        BadSetup: as `unforeseen`.
    """
    said = message.headers.get(subjects.H_PROOF, "").encode(errors="replace")
    proof = _proof(bus, message.subject, message.headers, message.data)
    return hmac.compare_digest(said, proof.encode())


def _proof(bus: Bus, subject: str, headers: Mapping[str, str], data: bytes) -> str:
    """Return what shows whoever knows this machine's key that it has stored this task there."""
    # A header goes before what the bytes say of the same. In JSON as it need not be text.
    read = json.dumps([headers.get(name, "") for name in subjects.TASK_HEADERS])
    said = (subject, read, hashlib.sha256(data).hexdigest())
    return unforeseen(bus.settings.state_dir, "stored", *said)


async def _is_stored(bus: Bus, task: Task, seq: int) -> bool:
    """Tell whether what is stored under a task's id is this task, as far as it is still there."""
    stream = subjects.SCHEDULE if task.deliver_at else subjects.TASKS
    for message in await bus.many(stream, {"seq": seq, "batch": 1}):
        if message.seq == seq and message.headers.get(subjects.H_TASK) == task.id:
            return message.headers.get(subjects.H_REQUEST, task.request) == task.request
    return True


async def remove(bus: Bus, sent: Sent, *, everywhere: bool = True) -> None:
    """Take a task that has ended out of its inbox, where it would count until somebody reads it.

    Where it is not at its number, as one that was offered again, it is looked for `everywhere`.

    Raises:
        ApiError, BusUnreachable, NotAllowed: as `Bus.api`; then a reader removes it.
    """
    if sent.deliver_at and not await has_come(bus, sent.deliver_at):
        scheduled = subjects.scheduled_subject(sent.inbox, sent.priority, sent.owner, sent.task_id)
        await bus.api(f"STREAM.PURGE.{subjects.SCHEDULE}", {"filter": scheduled})
    look = find if everywhere else find_at
    if sent.seq and (there := await look(bus, first_record(sent), sent.seq)):
        await bus.api(f"STREAM.MSG.DELETE.{subjects.TASKS}", {"seq": there[1].seq})


async def expire(bus: Bus, sent: Sent, agent: str) -> bool:
    """End a task whose deadline passed, unless it has an end; tell whether it was done here.

    Raises: as `Bus.publish`.
    """
    reason = "its deadline passed without a result"
    expired = Step("expired", agent, first=first_record(sent), changes={"reason": reason})
    key = record_key(sent.owner, sent.inbox, sent.task_id)
    outcome = await update(bus, key, lambda standing: next_record(standing, expired, text.now()))
    with suppress(AgentbusError):  # whoever reads the inbox removes it
        await remove(bus, sent, everywhere=not isinstance(outcome, Lost))
    return isinstance(outcome, Written)


async def finish(bus: Bus, taken: Delivery) -> None:
    """Have a task never offered again that has ended; its schedule, if it had one, goes with it.

    Raises: as `Bus.finish`.
    """
    await bus.finish(taken)
    if not taken.token:  # nobody has taken it from the inbox
        task_id = taken.headers.get(subjects.H_TASK, "")
        await _delete(bus, taken.stream, taken.subject, taken.seq, task_id)
    with suppress(AgentbusError):  # then it goes after 30 days
        await _forget_schedule(bus, taken)


async def _forget_schedule(bus: Bus, taken: Delivery) -> None:
    """Remove what fell due: it would count among those that wait for their time."""
    stream, _, rest = taken.headers.get(subjects.H_SOURCE, "").partition(" ")
    number = rest.partition(" ")[0]
    if stream != subjects.SCHEDULE or not number.isdecimal():
        return
    inbox, _, (lane, sender) = subjects.parts(taken.subject)
    due = subjects.due_subject(inbox, lane, sender)
    # A header is what its sender says: only this task's own is deleted.
    await _delete(bus, stream, due, int(number), taken.headers.get(subjects.H_TASK, ""))


async def _delete(bus: Bus, stream: str, subject: str, seq: int, task_id: str) -> None:
    """Delete a stored task, if that is what has the number: in a stream made anew it is another."""
    request = {"seq": seq, "batch": 1, "next_by_subj": subject}
    for message in await bus.many(stream, request):
        if message.seq == seq and message.headers.get(subjects.H_TASK) == task_id:
            await bus.api(f"STREAM.MSG.DELETE.{stream}", {"seq": seq})


async def _check_schedule_has_room(bus: Bus, size: int) -> None:
    """See that so many bytes push nothing out: this stream alone drops the oldest, unasked."""
    call = f"STREAM.INFO.{subjects.SCHEDULE}"
    try:
        info = await bus.api(call)
        if _is_changed(info["config"]) and bus.on_missing:
            await bus.on_missing()
            info = await bus.api(call)
    except ApiError as error:
        if error.code == NO_SUCH_STREAM:  # storing makes it anew
            return
        raise
    if not schedule_has_room(info, size):
        raise StoreFull(
            "The bus has no room for one more task that waits for its time. Nothing was stored.",
            hint="Send it without deliver_in_s, or later.",
        )


def schedule_has_room(info: Mapping[str, Any], size: int) -> bool:
    """Tell whether what waits for its time has room for so many bytes more, by its stream's info.

    One without a limit, as its server's owner may have it, has the room of the disk.
    """
    limit = info["config"]["max_bytes"]
    return bool(limit <= 0 or info["state"]["bytes"] + size <= limit * _SCHEDULE_FULL_AT)


def decoded(message: Delivery | Found) -> Task:
    """Return the task in a message of an inbox, or among the parked ones.

    Raises:
        Repeating: a schedule puts it there again and again.
        Undecodable: it is none, or another than its sender has scheduled it.
    """
    headers = message.headers
    if is_repeating(headers):
        raise Repeating("a schedule that repeats has put it there")
    task = codec.decode_task(message.subject, headers, message.data, message.stored_at)
    # The right to schedule is the right to name any target subject, hence any sender.
    scheduler = headers.get(subjects.H_SCHEDULER) or headers.get(subjects.H_SCHEDULED_BY)
    expected = subjects.scheduled_subject(task.to, task.priority, task.sender, task.id)
    if scheduler is not None and scheduler != expected:
        raise Undecodable("it was scheduled by another than its sender")
    return task


def is_repeating(headers: Mapping[str, str]) -> bool:
    """Tell by a message's headers whether it is, or comes from, a schedule that comes again.

    `put` makes none: other programs on the same server may.
    """
    schedule = headers.get(subjects.H_SCHEDULE, subjects.AT)
    if not schedule.startswith(subjects.AT):
        return True
    comes_from_one = subjects.H_SCHEDULER in headers
    return comes_from_one and headers.get(subjects.H_SCHEDULE_NEXT) != subjects.ONCE


async def stored(bus: Bus, delivery: Delivery) -> Task | None:
    """Return the task behind a delivery of which only the reference is left; None if it is gone.

    Raises:
        Undecodable: it is none.
        BusUnreachable, NotAllowed: as `Bus.many`.
    """
    request = {"seq": delivery.seq, "batch": 1, "next_by_subj": delivery.subject}
    for message in await bus.many(delivery.stream, request):
        if message.seq == delivery.seq:
            return decoded(message)
    return None


async def find(bus: Bus, record: Record, seq: int = 0) -> tuple[Task, Found] | None:
    """Return a stored task by its record, and its message; None if none is stored.

    Args:
        bus: where it lies.
        record: of the task.
        seq: its sequence among the stored ones; where that is not known, 0, or it is not there, as
            one that was offered again, all of its sender's in its lane are gone through.

    Raises:
        BusUnreachable, NotAllowed: as `Bus.many`.
    """
    if seq and (there := await find_at(bus, record, seq)):
        return there
    messages = bus.stored(subjects.TASKS, _lane_of(record), page=_PAGE)
    async with aclosing(messages) as pages:
        async for page in pages:
            for message in page:
                if task := _in(message, record):
                    return task, message
    return None


async def find_at(bus: Bus, record: Record, seq: int) -> tuple[Task, Found] | None:
    """Return a stored task, as `find`, if it is the one that has this number."""
    request = {"seq": seq, "batch": 1, "next_by_subj": _lane_of(record)}
    for message in await bus.many(subjects.TASKS, request):
        if message.seq == seq and (task := _in(message, record)):
            return task, message
    return None


def _lane_of(record: Record) -> str:
    return subjects.task_subject(record.inbox, record.priority, record.owner)


def _in(message: Found, record: Record) -> Task | None:
    """Return the task in a message if it is a record's."""
    with suppress(Undecodable):
        task = decoded(message)
        return task if task.id == record.task_id else None
    return None


@dataclass(frozen=True)
class Seen:
    """A stored task that is not over, and who holds it."""

    task: Task
    #: None if nobody has touched it yet.
    record: Record | None = None

    @property
    def state(self) -> State:
        """The task's state."""
        return self.record.state if self.record else "stored"

    @property
    def holder(self) -> str:
        """The session that holds it, as `agent/session`; empty if nobody does."""
        if self.record is None or self.state == "stored":
            return ""
        return f"{self.record.agent}/{self.record.session}"


@dataclass(frozen=True)
class Unreadable:
    """A stored message that is no task."""

    #: In this program's words.
    reason: str


async def at(bus: Bus, message: Found) -> Seen | Unreadable | None:
    """Look at a stored message, and take nothing; None if its task is over, or its deadline past.

    Raises:
        BusUnreachable, NotAllowed: as `Bus.last`.
    """
    try:
        task = decoded(message)
    except Undecodable as error:
        return Unreadable(str(error))
    record, _ = await read_record(bus, task.sender, task.to, task.id)
    over = (record is not None and record.ended) or await has_come(bus, task.expires_at)
    return None if over else Seen(task, record)


def _is_changed(config: Mapping[str, Any]) -> bool:
    """Tell whether one of our streams is as neither this version makes it, nor a later one."""
    made = streams.SETTINGS[streams.STREAMS.index(config["name"])]
    return bool(stream_differs(made, config)) and not streams.is_newer(config)
