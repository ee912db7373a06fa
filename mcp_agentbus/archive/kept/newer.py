# SPDX-License-Identifier: Apache-2.0
"""How a task's row takes over what is newer, or comes of a stream that was made anew.

>>> file.execute(insert + update(["subject", "request"], "sent_seq"), values)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

# What its owner's side says counts before what a worker has copied.
_OWNERS: Final = frozenset({"subject", "thread_id", "priority", "created_at"})
# A stream that was made anew counts from 1 again.
_OWNERS_SEQ: Final = {"sent_seq": "min(tasks.sent_seq, 1)"}
# What its worker's record says, and what stands there without one: one that was restored from a
# backup may know nothing of what a worker has done since.
_WORKERS: Final = {
    "state": "'stored'", "agent": "''", "session": "''", "attempts": "0", "summary": "''",
    "result": "''", "artifacts": "'[]'", "progress": "NULL", "reason": "''", "late": "0",
    "asked_by": "''", "record_seq": "0",
}  # fmt: skip
_ANEW: Final = "(tasks.stream != excluded.stream)"


def update(names: Iterable[str], counted_by: str) -> str:
    """Return how a row takes over what is newer.

    Args:
        names: the columns that a record has.
        counted_by: the one of its sequence; empty: it says nothing of the row.
    """
    if not counted_by:
        return "NOTHING"
    others = _WORKERS if counted_by == "sent_seq" else _OWNERS_SEQ
    sets = [_set(name, counted_by) for name in names]
    sets += [
        f"{name} = CASE WHEN {_ANEW} THEN {value} ELSE tasks.{name} END"
        for name, value in others.items()
    ]
    return (
        f"UPDATE SET {', '.join(sets)}, stream = excluded.stream"
        f" WHERE {_ANEW} OR tasks.{counted_by} < excluded.{counted_by}"
    )


def _set(name: str, counted_by: str) -> str:
    """Return how a column takes over what is newer."""
    new = f"excluded.{name}"
    if counted_by == "record_seq" and name in _OWNERS:
        new = f"CASE WHEN tasks.sent_seq > 0 THEN tasks.{name} ELSE excluded.{name} END"
    elif name == "request":  # the whole of it may be known already
        new = (
            "CASE WHEN length(tasks.request) > length(excluded.request)"
            " THEN tasks.request ELSE excluded.request END"
        )
    elif counted_by == "sent_seq" and name == "updated_at":  # until a worker says when
        new = f"CASE WHEN tasks.record_seq > 0 AND NOT {_ANEW} THEN tasks.{name} ELSE {new} END"
    return f"{name} = {new}"
