# SPDX-License-Identifier: Apache-2.0
"""What a record on the bus says to the archive: columns of its task's row, and steps.

    >>> change_in(message)
    Change(owner='planner', inbox='coder', task_id='9d0c...', counted_by='sent_seq', seq=17, ...)

Pure: the records are decoded and checked by `store`, as for every other reader.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from mcp_agentbus.bus.replies import Found
from mcp_agentbus.core.ids import is_probe
from mcp_agentbus.store import records
from mcp_agentbus.store.task import Moment, Record, Sent, Undecodable


@dataclass(frozen=True)
class Change:
    """What one record says of one task."""

    owner: str
    inbox: str
    task_id: str
    #: When it was stored, which is when the task was where nothing else is known of it.
    at: datetime
    #: Its sequence on the bus.
    seq: int
    #: The column that has the sequence of what stands in the row; empty: it says steps alone.
    counted_by: Literal["", "sent_seq", "record_seq"] = ""
    #: By column.
    values: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple[Moment, ...] = ()


def change_in(message: Found) -> Change | None:
    """Return what a stored message says; None if it is no record, or nobody's word.

    Nor has a test of the bus a history: what it stores goes from there when it is over.
    """
    with suppress(Undecodable):
        record = records.decode(message)
        if is_probe(record.owner, record.inbox):
            return None
        if isinstance(record, Sent):
            return None if record.unasked else _by_owner(record, message)
        if isinstance(record, Record):
            return _by_worker(record, message)
        return _change(record, message, steps=record.moments)
    return None


def _by_owner(sent: Sent, message: Found) -> Change:
    stored = Moment(state="stored", at=sent.created_at, by=sent.owner)
    answered = (
        Moment(state="answered", at=each.at, by=sent.owner, note=each.body) for each in sent.answers
    )
    names = (
        "subject", "thread_id", "priority", "task_type", "in_reply_to", "created_at", "expires_at",
        "deliver_at", "seen_at", "expect",
    )  # fmt: skip
    values = {name: getattr(sent, name) for name in names}
    values |= {
        "request": sent.body, "request_chars": sent.body_chars, "updated_at": sent.created_at,
    }  # fmt: skip
    return _change(sent, message, "sent_seq", values, (stored, *answered))


def _by_worker(record: Record, message: Found) -> Change:
    names = (
        "subject", "thread_id", "priority", "state", "agent", "session", "attempts", "summary",
        "artifacts", "progress", "reason", "late", "updated_at", "asked_by",
    )  # fmt: skip
    values = {name: getattr(record, name) for name in names}
    if record.history:
        values["created_at"] = record.history[0].at
    return _change(record, message, "record_seq", values | {"result": record.body}, _steps(record))


def _steps(record: Record) -> tuple[Moment, ...]:
    """Return a record's steps, with the one that it stands at, whatever its writer kept of them.

    By a clock that is far ahead it was taken later than the record was stored, and is that one all
    the same.
    """
    last = Moment(state=record.state, at=record.updated_at, by=record.agent, reason=record.reason)
    steps = record.history
    stands = bool(steps) and steps[-1].state == last.state and steps[-1].at >= last.at
    return steps if stands else (*steps, last)


def _change(
    of: Any,
    message: Found,
    counted_by: Literal["", "sent_seq", "record_seq"] = "",
    values: Mapping[str, Any] | None = None,
    steps: tuple[Moment, ...] = (),
) -> Change:
    return Change(
        of.owner,
        of.inbox,
        of.task_id,
        message.stored_at,
        message.seq,
        counted_by,
        values or {},
        steps,
    )
