# SPDX-License-Identifier: Apache-2.0
"""Tasks as they are stored on the bus: the one place that puts them there.

    >>> await put(bus, task)
    Kept(sent=Sent(task_id='9d0c...', ...), duplicate=False)

It says where a task goes and what it looks like there; whose turn it is, and whether it may be sent
at all, is the hand-off's business.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Found, Stored
from mcp_agentbus.config.machine_key import unforeseen
from mcp_agentbus.core import text
from mcp_agentbus.errors import AgentbusError, Refused, StoreFull, Unconfirmed
from mcp_agentbus.store import codec, streams, subjects
from mcp_agentbus.store.queries.numbered import numbered
from mcp_agentbus.store.records import Written, sent_key, update
from mcp_agentbus.store.steps import Write, sent_of
from mcp_agentbus.store.task import Sent, Task
from mcp_agentbus.store.upkeep.as_made import stream_differs

# JetStream drops the oldest scheduled task when its stream is full, so stop well before.
_SCHEDULE_FULL_AT: Final = 0.9


@dataclass(frozen=True)
class Kept:
    """A task that is on the server, and what its sender keeps of it."""

    sent: Sent
    #: It had been stored before; nothing was stored again.
    duplicate: bool
    #: Since when it is, or is known to be; monotonic.
    since: float = field(default_factory=time.monotonic, compare=False)


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
    message = await numbered(bus, stream, seq)
    if message is None or message.headers.get(subjects.H_TASK) != task.id:
        return True
    return message.headers.get(subjects.H_REQUEST, task.request) == task.request


async def _check_schedule_has_room(bus: Bus, size: int) -> None:
    """See that so many bytes push nothing out: this stream alone drops the oldest, unasked."""
    info = await streams.info(bus, subjects.SCHEDULE)
    if info and _is_changed(info["config"]) and bus.on_missing:
        await bus.on_missing()
        info = await streams.info(bus, subjects.SCHEDULE)
    if info and not schedule_has_room(info, size):  # where there is none, storing makes it anew
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


def _is_changed(config: Mapping[str, Any]) -> bool:
    """Tell whether one of our streams is as neither this version makes it, nor a later one."""
    made = streams.SETTINGS[streams.STREAMS.index(config["name"])]
    return bool(stream_differs(made, config)) and not streams.is_newer(config)
