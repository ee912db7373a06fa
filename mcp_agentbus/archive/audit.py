# SPDX-License-Identifier: Apache-2.0
"""Every step that is known of tasks, in the order of time, or as they became known.

>>> steps(archive, Sides(), Span(since=yesterday))
[TaskStep(n=17, at=..., state='claimed', by='coder', task=Past(task_id='9d0c...', ...)), ...]
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from sqlite3 import Row
from typing import Any, Final

from mcp_agentbus.archive.file import Archive, iso
from mcp_agentbus.archive.kept.sides import Sides
from mcp_agentbus.archive.past import ONCE, Past, past_of
from mcp_agentbus.core.aio import in_thread

_PAGE: Final = 200
# So few steps that became known one after the other are sorted by time; of more, all are looked
# through in the order of time.
_FEW: Final = 10_000


#: In this order: else it would sort all of an agent's tasks for each page.
STEPS: Final = "steps CROSS JOIN tasks ON tasks.n = steps.task"
#: What `entry_of` takes. They became known in the order in which they were taken, by whatever
#: clocks: so the last of them that made the task what it is has the greatest number.
COLUMNS: Final = (
    "steps.n AS step, steps.at AS step_at, steps.state AS step_state, steps.by AS step_by,"
    " steps.reason AS step_reason, steps.note AS step_note,"
    " steps.n = (SELECT max(last.n) FROM steps AS last"
    " WHERE last.task = tasks.n AND last.state = tasks.state) AS step_is_last"
)


@dataclass(frozen=True)
class TaskStep:
    """A step of a task."""

    #: Steps are counted as they become known.
    n: int
    at: datetime
    state: str
    by: str
    #: Why, in the words of whoever wrote the record.
    reason: str
    #: What its worker said with it.
    note: str
    #: The task as it is known by now.
    task: Past
    #: It made the task what that is: at an end, what is known of the result was said with it.
    is_last: bool = False

    @property
    def place(self) -> tuple[str, int]:
        """Where it stands in the order of time."""
        return iso(self.at), self.n


@dataclass(frozen=True)
class Span:
    """Which steps: those behind `after`, up to `until`, since a time; nothing means all."""

    after: int = 0
    until: int | None = None
    since: datetime | None = None
    #: Of one task, by its place in the archive.
    task: int | None = None
    #: Of those in the order of time only what comes behind this one, by its `TaskStep.place`.
    behind: tuple[str, int] = ("", 0)


def last(archive: Archive) -> int:
    """Return the number of the step that became known last; 0 if none is."""
    return int(archive.rows("SELECT coalesce(max(n), 0) AS n FROM steps")[0]["n"])


def steps(archive: Archive, sides: Sides, span: Span) -> Iterator[TaskStep]:
    """Yield the steps of the tasks between these sides, in the order of time; of a short span."""
    rest: Span | None = span
    while rest:
        page, rest = _page(archive, sides, rest)
        yield from page


async def pages(archive: Archive, sides: Sides, span: Span) -> AsyncGenerator[Sequence[TaskStep]]:
    """Yield the same page by page, each read while others go on: a year has a million steps."""
    rest: Span | None = span
    while rest:
        page, rest = await in_thread(_page, archive, sides, rest)
        yield page


def hidden(archive: Archive, sides: Sides, span: Span, limit: int) -> tuple[int, Span]:
    """Return how many steps of a span come before its last `limit`, and the span behind those."""
    conditions, values = _conditions(sides, span)
    # Conditions are constants of this room.
    places = archive.rows(
        f"SELECT steps.at, steps.n FROM {STEPS} WHERE {conditions}"  # noqa: S608
        " ORDER BY steps.at DESC, steps.n DESC LIMIT 1 OFFSET ?",
        *values, limit,
    )  # fmt: skip
    if not places:
        return 0, span
    at, n = places[0]
    [(count,)] = archive.rows(
        f"SELECT count(*) FROM {STEPS} WHERE {conditions} AND (steps.at, steps.n) <= (?, ?)",  # noqa: S608
        *values, at, n,
    )  # fmt: skip
    return int(count), replace(span, behind=(at, n))


def _page(archive: Archive, sides: Sides, span: Span) -> tuple[list[TaskStep], Span | None]:
    """Return the first steps of a span, and the span behind those; None: there is nothing."""
    conditions, values = _conditions(sides, span)
    # Conditions are constants of this room.
    rows = archive.rows(
        f"SELECT tasks.*, '' AS snippet, {COLUMNS} FROM {STEPS} WHERE {conditions}"  # noqa: S608
        " ORDER BY steps.at, steps.n LIMIT ?",
        *values, _PAGE,
    )  # fmt: skip
    entries = [entry_of(row, past_of(row, archive.now())) for row in rows]
    if len(rows) < _PAGE:
        return entries, None
    return entries, replace(span, behind=(rows[-1]["step_at"], rows[-1]["step"]))


def entry_of(row: Row, task: Past) -> TaskStep:
    """Return the step in a row of the archive."""
    return TaskStep(
        n=row["step"],
        at=datetime.fromisoformat(row["step_at"]),
        state=row["step_state"],
        by=row["step_by"],
        reason=row["step_reason"],
        note=row["step_note"],
        task=task,
        is_last=bool(row["step_is_last"]),
    )


def _conditions(sides: Sides, span: Span) -> tuple[str, list[Any]]:
    is_short = span.until is not None and span.until - span.after <= _FEW
    number = "steps.n" if is_short else "+steps.n"  # the plus keeps SQLite from looking by it
    conditions: list[str] = [f"{number} > ?", "(steps.at, steps.n) > (?, ?)"]
    values: list[Any] = [span.after, *span.behind]
    if span.until is not None:
        conditions.append(f"{number} <= ?")
        values.append(span.until)
    if span.since is not None:
        conditions.append("steps.at >= ?")
        values.append(iso(span.since))
    if span.task is not None:
        conditions.append("steps.task = ?")
        values.append(span.task)
    if sides.owners:
        owners, inboxes = (", ".join("?" * len(each)) for each in (sides.owners, sides.inboxes))
        between = f"tasks.owner IN ({owners}) OR (tasks.inbox IN ({inboxes}) AND {ONCE})"
        conditions.append(f"({between})")
        values += [*sides.owners, *sides.inboxes]
    elif span.task is None:
        conditions.append(ONCE)
    return " AND ".join(conditions), values
