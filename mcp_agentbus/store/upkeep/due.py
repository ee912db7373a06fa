# SPDX-License-Identifier: Apache-2.0
"""What has fallen due and the server does not put into its inbox, so that nobody else waits for it.

    due = Due(bus)
    while True:
        await due.look()

The server copies what falls due in order, and tries a message again for ever that its inbox cannot
take: one whose lane is full, or that is too large, if only by the server's own header. What falls
due after it waits, whoever sent it. So whoever looks ends what is in the way.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Found
from mcp_agentbus.core import text
from mcp_agentbus.core.aio import together
from mcp_agentbus.store import subjects
from mcp_agentbus.store.queries.read_back import decoded
from mcp_agentbus.store.records import record_key, update
from mcp_agentbus.store.steps import Lost, Write, first_record, sent_of, step
from mcp_agentbus.store.subjects import SCHEDULE, TASKS
from mcp_agentbus.store.task import Record, Undecodable

# Between two looks of which nothing is told, in seconds.
_PAUSE_S: Final = 15.0
# The server tries every 2 s. What is first for so long is in the way, and not just under way.
_STANDS_S: Final = 10.0
# What is behind it is looked at this soon.
_NEXT_S: Final = 3.0
# A server that copies is heard of every second; one that does not is just starting.
_COPIES_S: Final = 10.0
# In nanoseconds, as the server counts.
_S: Final = 1_000_000_000
# With less left of its room, in bytes, the stream of tasks itself may be what is full.
_ROOM: Final = 1 << 20
# Stored tasks in one answer, each of which may have 512 KiB.
_PAGE: Final = 100
# Of what is in the way under one subject so many are ended at once, so that a look has an end. The
# senders of more, which only a flood is, learn of it at their deadlines.
_ENDED_MAX: Final = 1_000
_DUE: Final = subjects.due_subject("*", "*", "*")


@dataclass(frozen=True)
class KeptBack:
    """The message that has fallen due and that the server cannot put into its inbox."""

    first: Found
    #: Whether its lane has no room for it; else the server does not take the message itself.
    lane_is_full: bool

    @property
    def inbox(self) -> str:
        """For whom it is, as its subject spells it, unchecked."""
        return subjects.parts(self.first.subject).whose

    @property
    def sender(self) -> str:
        """Whose it is, likewise."""
        return subjects.parts(self.first.subject).rest[1]

    @property
    def why(self) -> str:
        """Why the server does not take it, in this program's words."""
        return "its lane is full" if self.lane_is_full else "it is larger than the server takes"


class Due:
    """Looks again and again, and lets go what is in the way of what falls due."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._first = 0
        #: Since when that is the first; monotonic.
        self._since = 0.0
        self._look_at = 0.0

    async def look(self) -> KeptBack | None:
        """Look, unless that was done a moment ago; return what was let go, None for nothing.

        Raises: as `Bus.publish`.
        """
        now = time.monotonic()
        if now < self._look_at:
            return None
        kept_back = await find(self._bus)
        self._look_at = now + (_STANDS_S if kept_back else _PAUSE_S)
        seq = kept_back.first.seq if kept_back else 0
        if seq != self._first:
            self._first, self._since = seq, now
        if not kept_back or now - self._since < _STANDS_S:
            return None
        await let_go(self._bus, kept_back)
        self._look_at = now + _NEXT_S
        return kept_back


async def find(bus: Bus) -> KeptBack | None:
    """Return what the server would put into an inbox next, if it may be that it cannot.

    It may as well be about to: the same one a few seconds later is in the way.

    Raises: as `Bus.api`.
    """
    info = await bus.api(f"STREAM.INFO.{TASKS}")
    source = _source(info)
    if source is None:
        return None
    first = await _first(bus, int(source.get("seq", 0)))
    if first is None:
        return None
    limit, used = info["config"]["max_bytes"], int(info["state"]["bytes"])
    has_room = limit <= 0 or used + len(first.data) + _ROOM < limit
    count = await _stored(bus, _task_subject(first))
    is_full = 0 < info["config"]["max_msgs_per_subject"] <= count
    return KeptBack(first, is_full) if is_full or has_room else None


async def in_the_way(bus: Bus) -> KeptBack | None:
    """Return what keeps others back at this moment; takes 10 s where it is not clear at once.

    Raises: as `Bus.api`.
    """
    kept_back = await find(bus)
    if kept_back and not kept_back.lane_is_full:
        await asyncio.sleep(_STANDS_S)
        later = await find(bus)
        return later if later and later.first.seq == kept_back.first.seq else None
    return kept_back


def _source(info: dict[str, Any]) -> dict[str, Any] | None:
    """Return what the server says of its copying; None where it does not copy at this moment."""
    for source in info.get("sources") or []:
        if source.get("name") == SCHEDULE and 0 <= int(source.get("active", -1)) < _COPIES_S * _S:
            return dict(source)
    return None


async def _first(bus: Bus, copied: int) -> Found | None:
    """Return the first message that has fallen due after `copied` and is in no inbox.

    A server before 2.15.1 does not say what it has copied; then the first page is looked at.
    """
    request = {"seq": copied + 1, "batch": 1 if copied else _PAGE, "next_by_subj": _DUE}
    for message in await bus.many(SCHEDULE, request):
        latest = None if copied else await bus.last(TASKS, _task_subject(message))
        if latest is None or latest.stored_at < message.stored_at:
            return message
    return None


async def _stored(bus: Bus, subject: str) -> int:
    wanted = {"subjects_filter": subject}
    info = await bus.api(f"STREAM.INFO.{TASKS}", wanted)
    return int((info["state"].get("subjects") or {}).get(subject, 0))


async def let_go(bus: Bus, kept_back: KeptBack) -> None:
    """Remove what is in the way, and what its sender has behind it there; each task has its end.

    Raises: as `Bus.publish`.
    """
    first = kept_back.first
    named: list[Found] = []
    stored = bus.stored(SCHEDULE, first.subject, start=first.seq, page=_PAGE)
    async for page in stored:
        await together(*(_end(bus, message, kept_back.why) for message in page))
        named += page
        if len(named) >= _ENDED_MAX:
            break
    going = {first.seq}  # what is no UTF-8 in a subject is replaced as it is read: that names none
    if "*" in first.subject or ">" in first.subject:  # by number: it would name others' as well
        going |= {message.seq for message in named}
    else:  # a copy of what is in its inbox already may go with it
        await bus.api(f"STREAM.PURGE.{SCHEDULE}", {"filter": first.subject})
    for seq in sorted(going):
        await bus.api(f"STREAM.MSG.DELETE.{SCHEDULE}", {"seq": seq})


async def _end(bus: Bus, message: Found, why: str) -> None:
    """End a task that cannot be put into its inbox; whoever sent it is told."""
    with suppress(Undecodable):  # else there is nobody to tell
        task = decoded(replace(message, subject=_task_subject(message)))
        reason = (
            f"its time had come and {why}, so the bus server kept back whatever fell due after it: "
            "send it again when the inbox has been read"
        )
        first = first_record(sent_of(task))

        def ended(standing: Record | None) -> Write[Record] | Lost:
            if standing is not None:
                return Lost(standing)
            return Write(step(first, "failed", task.sender, "", text.now(), reason=reason))

        await update(bus, record_key(task.sender, task.to, task.id), ended)


def _task_subject(message: Found) -> str:
    inbox, _, (lane, sender) = subjects.parts(message.subject)
    return subjects.task_subject(inbox, lane, sender)
