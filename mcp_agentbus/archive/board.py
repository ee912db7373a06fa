# SPDX-License-Identifier: Apache-2.0
"""How the tasks of this user stand: what rests in which lane, who holds what, what ended last.

    >>> resting(archive, at)
    (Resting(inbox='coder', priority='normal', is_early=False, count=4, oldest=Past(...)),)

It reads the archive as it is, which is as new as its last catch up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from mcp_agentbus.archive.audit import COLUMNS, STEPS, TaskStep, entry_of
from mcp_agentbus.archive.file import Archive, iso, listed
from mcp_agentbus.archive.past import ONCE, Past, past_of
from mcp_agentbus.archive.questions import ANY_LEFT_OPEN
from mcp_agentbus.core.ids import LANES, PARKED_NUMBER, Priority, is_number, whole_task_id
from mcp_agentbus.core.text import check_text
from mcp_agentbus.errors import UnknownTask
from mcp_agentbus.store.task import ENDS, HELD, OPEN

# Of a bus that was used before, or is besides, the archive knows tasks too: where this one was
# reached, none of those is a fact here.
_HERE: Final = "tasks.stream = coalesce(?, tasks.stream)"
# A deadline that passed counts before anybody has written it down.
_NOT_OVERDUE: Final = "(tasks.expires_at IS NULL OR tasks.expires_at > ?)"
_BY_LANE: Final = f"instr('{' '.join(LANES)}', tasks.priority)"
# Of a task that was woken for and of which nobody has kept more nothing is known but that.
_KNOWN: Final = "tasks.sent_seq + tasks.record_seq > 0"
# Ids that begin alike; more than these nobody is told.
_ALIKE_MAX: Final = 100
# Behind all letters that an id may have.
_BEHIND: Final = "~"
_LISTED: Final = "`agentbus tasks --all` lists them with their ids."


@dataclass(frozen=True)
class Resting:
    """Tasks of one lane that nobody has claimed, or all of them given back.

    Words stand for themselves: what wakes nobody is not to hide what does.
    """

    inbox: str
    priority: Priority
    #: They want no answer.
    is_word: bool
    #: Their senders want them offered later.
    is_early: bool
    count: int
    oldest: Past


def resting(archive: Archive, at: datetime) -> tuple[Resting, ...]:
    """Return what rests, high before normal before low, and the longest first."""
    rows = archive.rows(
        "SELECT tasks.*, '' AS snippet, count(*) AS of_them, min(tasks.created_at) AS since,"  # noqa: S608
        " coalesce(tasks.deliver_at > ?, 0) AS is_early FROM tasks"
        f" WHERE tasks.state = 'stored' AND {_KNOWN} AND {_NOT_OVERDUE} AND {_HERE}"
        " GROUP BY tasks.inbox, tasks.priority, tasks.expect, is_early"
        f" ORDER BY is_early, {_BY_LANE}, since",
        iso(at), iso(at), archive.stream,
    )  # fmt: skip
    return tuple(
        Resting(
            row["inbox"], row["priority"], row["expect"] == "nothing", bool(row["is_early"]),
            row["of_them"], past_of(row, at),
        )
        for row in rows
    )  # fmt: skip


def held(archive: Archive, at: datetime, limit: int = 1_000) -> tuple[Past, ...]:
    """Return what sessions have claimed, whether or not those still live, the latest first."""
    return _tasks(
        archive,
        f"tasks.state IN ({listed(HELD)}) AND {ONCE} AND {_NOT_OVERDUE} AND {_HERE}"
        " ORDER BY tasks.updated_at DESC",
        limit,
        iso(at),
        archive.stream,
    )


def asking(archive: Archive, at: datetime, limit: int = 1_000) -> tuple[Past, ...]:
    """Return what nobody holds and whose last worker asked something, the latest first."""
    return _tasks(
        archive,
        f"tasks.state = 'stored' AND {ANY_LEFT_OPEN} AND {_NOT_OVERDUE} AND {_HERE}"
        " ORDER BY tasks.updated_at DESC",
        limit,
        iso(at),
        archive.stream,
    )


def overdue(archive: Archive, at: datetime, limit: int) -> tuple[Past, ...]:
    """Return what has expired and nobody has written that down yet, the latest first."""
    condition = f"tasks.state IN ({listed(OPEN)}) AND tasks.expires_at <= ? AND {_HERE} AND {ONCE}"
    order = "ORDER BY tasks.expires_at DESC"
    return _tasks(archive, f"{condition} {order}", limit, iso(at), archive.stream)


def ended(archive: Archive, limit: int) -> tuple[Past, ...]:
    """Return what ended last."""
    # The plus keeps SQLite from sorting all that ever ended: the latest changes are looked through.
    return _tasks(
        archive,
        f"+tasks.state IN ({listed(ENDS)}) AND {ONCE} ORDER BY tasks.updated_at DESC",
        limit,
    )


def parked(archive: Archive) -> dict[str, int]:
    """Return how many tasks were set aside, by inbox."""
    rows = archive.rows(
        f"SELECT inbox, count(*) AS n FROM tasks WHERE state = 'parked' AND {ONCE} GROUP BY inbox"  # noqa: S608
    )
    return {row["inbox"]: int(row["n"]) for row in rows}


def before(archive: Archive, task: Past, at: datetime) -> int:
    """Return how many tasks of a task's lane rest that are older."""
    [row] = archive.rows(
        "SELECT count(*) AS n FROM tasks WHERE tasks.state = 'stored' AND tasks.inbox = ?"  # noqa: S608
        f" AND tasks.priority = ? AND (tasks.created_at, tasks.n) < (?, ?) AND {_NOT_OVERDUE}"
        f" AND coalesce(tasks.deliver_at <= ?, 1) AND {_HERE}",
        task.inbox, task.priority, iso(task.created_at), task.n, iso(at), iso(at), archive.stream,
    )  # fmt: skip
    return int(row["n"])


def steps_of(archive: Archive, task: Past) -> tuple[TaskStep, ...]:
    """Return all that is known of a task's way, in the order of time."""
    rows = archive.rows(
        f"SELECT {COLUMNS} FROM {STEPS} WHERE steps.task = ? ORDER BY steps.at, steps.n",  # noqa: S608
        task.n,
    )
    return tuple(entry_of(row, task) for row in rows)


def named(archive: Archive, written: str) -> Past:
    """Return the one task whose id is what was written, or begins so.

    Raises:
        BadInput: several begin with it, which the message names, or it is no text.
        UnknownTask: none does.
    """
    check_text(written, "id")
    alike = _tasks(
        archive,
        "tasks.id >= ? AND tasks.id < ? ORDER BY tasks.id, tasks.sent_seq DESC",
        _ALIKE_MAX,
        written,
        written + _BEHIND,
    )
    whole = whole_task_id(written, {task.task_id for task in alike})
    task = next((task for task in alike if task.task_id == whole), None)
    if task is None:
        raise UnknownTask(
            f"No task of your agents is known by {written[:70]!r}.",
            hint=PARKED_NUMBER if is_number(written) else _LISTED,
        )
    return task


def _tasks(archive: Archive, condition: str, limit: int, *values: Any) -> tuple[Past, ...]:
    # Conditions are constants of this module.
    rows = archive.rows(
        f"SELECT tasks.*, '' AS snippet FROM tasks WHERE {condition} LIMIT ?",  # noqa: S608
        *values,
        limit,
    )
    now = archive.now()
    return tuple(past_of(row, now, here=archive.stream) for row in rows)
