# SPDX-License-Identifier: Apache-2.0
"""Where a page of tasks ends, as a cursor that holds in an archive that is made anew, too.

>>> cursor_of(past)
'past-1795863600000-9d0c2f1a'

It is the time of the last task and what tells that from others of the same moment, and no number of
a row: where nothing is archived each call has rows of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

from mcp_agentbus.archive.file import Archive
from mcp_agentbus.archive.past import Past
from mcp_agentbus.errors import BadInput

_ARCHIVED: Final = "past"
_OUTGOING: Final = "here"
_CURSOR: Final = re.compile(rf"({_ARCHIVED}|{_OUTGOING})-(-?\d{{1,15}})-([0-9a-f]{{8}})", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)


@dataclass(frozen=True)
class PageStart:
    """Behind which task a page begins."""

    #: It lay in the outbox, and so comes before all that is archived.
    is_outgoing: bool
    created_at: datetime
    sign: str

    def is_of(self, owner: str, inbox: str, task_id: str) -> bool:
        """Tell whether it is that of this task, if the task is of its time."""
        return self.sign == _sign(owner, inbox, task_id)

    def rest_of(self, tasks: Sequence[Past]) -> Sequence[Past]:
        """Return which of these tasks, the latest first, come behind it."""
        for at, task in enumerate(tasks):
            if self.is_of(task.owner, task.inbox, task.task_id):
                return tasks[at + 1 :]
        return [task for task in tasks if task.created_at < self.created_at]  # it has gone


def cursor_of(past: Past) -> str:
    """Return the cursor of the page behind a task."""
    kind = _OUTGOING if past.is_outgoing else _ARCHIVED
    sign = _sign(past.owner, past.inbox, past.task_id)
    return f"{kind}-{(past.created_at - _EPOCH) // _MS}-{sign}"


def place_of(cursor: str) -> PageStart:
    """Return the place that a cursor names.

    Raises:
        BadInput: it is none of a history.
    """
    if written := _CURSOR.fullmatch(cursor):
        kind, ms, sign = written.groups()
        try:
            return PageStart(kind == _OUTGOING, _EPOCH + int(ms) * _MS, sign)
        except OverflowError:
            pass  # nobody was given it
    raise BadInput(
        "The cursor is not one of a history.",
        hint="Use the cursor of the answer before, or none to begin with the latest.",
    )


def _sign(owner: str, inbox: str, task_id: str) -> str:
    return sha256(f"{owner} {inbox} {task_id}".encode()).hexdigest()[:8]


def number_of(archive: Archive, owner: str, inbox: str, task_id: str) -> int:
    """Return the place of a task in the archive; 0 if it has none."""
    rows = archive.rows(
        "SELECT n FROM tasks WHERE owner = ? AND inbox = ? AND id = ?", owner, inbox, task_id
    )
    return int(rows[0]["n"]) if rows else 0


def only_here(archive: Archive, outgoing: Sequence[Past]) -> tuple[Past, ...]:
    """Return of what lies in the outbox what the bus has not: else it would be listed twice."""
    places = ((each.owner, each.inbox, each.task_id) for each in outgoing)
    return tuple(
        each for each, at in zip(outgoing, places, strict=True) if not number_of(archive, *at)
    )
