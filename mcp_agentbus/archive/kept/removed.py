# SPDX-License-Identifier: Apache-2.0
"""Which tasks go from an archive first, and what is told of those that went.

    >>> archive.removed()[0].says
    'Tasks that nothing happened to after 2026-08-31 12:00Z may be missing: `[archive] days` ...'

What goes is never read from the bus again, so whoever looks that far back is told that it went.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from mcp_agentbus.errors import UnknownTask
from mcp_agentbus.store.task import OPEN

#: The key of [archive] by which something was removed.
Why = Literal["days", "max_mb"]

#: About how many bytes a task takes: its texts, half as much in the index at least, and its steps
#: with their notes, any of which may have 64 KiB.
TAKEN: Final = (
    "1000 + 1.5 * length(CAST(subject || request || summary || result AS BLOB))"
    " + coalesce((SELECT sum(length(CAST(note AS BLOB))) FROM steps WHERE task = tasks.n), 0)"
)
NOTE_REMOVED: Final = (
    "INSERT INTO removed VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET"
    " until = max(until, excluded.until), unfinished = max(unfinished, excluded.unfinished)"
)
#: So long the bus keeps a record: without a deadline nothing is open there for longer.
BUS_KEEPS: Final = timedelta(days=30)
_ON_BUS: Final = "(coalesce(stream = ?, 0) AND max(sent_seq, record_seq) >= ?)"
_STATES: Final = ", ".join(f"'{state}'" for state in sorted(OPEN))
_OPEN: Final = f"(state IN ({_STATES}) AND coalesce(expires_at > ?, updated_at > ?))"


@dataclass(frozen=True)
class Removed:
    """That tasks were removed."""

    why: Why
    #: To none of them had anything happened after this.
    until: datetime
    #: Some were not over.
    unfinished: bool = False

    @property
    def says(self) -> str:
        """What whoever may miss them is told."""
        until = self.until.astimezone(UTC).strftime("%Y-%m-%d %H:%MZ")
        return (
            f"Tasks to which nothing happened after {until} may be missing: `[archive] {self.why}`"
            " in config.toml had the oldest removed. A greater number keeps more."
        )


def perhaps_removed(unknown: UnknownTask, removed: Iterable[Removed]) -> UnknownTask:
    """Return what is said of a task that is not known, where it may have been removed."""
    notes = " ".join(each.says for each in removed)
    return unknown.saying(hint=f"{notes} {unknown.hint}") if notes else unknown


@dataclass(frozen=True)
class Which:
    """Of which tasks some go: a condition, which is a constant of this module, and its values."""

    condition: str
    values: tuple[Any, ...] = ()
    #: They may not be over.
    is_open: bool = False

    def of(self, condition: str, *values: Any) -> Which:
        """Return the same of those alone that meet another condition, too."""
        return Which(f"{condition} AND {self.condition}", (*values, *self.values), self.is_open)


class Going:
    """Which tasks may go, as the bus and the clocks are."""

    def __init__(self, stream: str | None, first: int, now: str, kept_since: str) -> None:
        """Make it of how the bus is, and of two times as columns have them.

        Args:
            stream: as `Archive.stream`.
            first: the first record that it has.
            now: what time it is.
            kept_since: `BUS_KEEPS` before that.
        """
        still = Which(f"NOT {_OPEN}", (now, kept_since))
        #: Those that are over, and that the bus does not have.
        self.over = still.of(f"NOT {_ON_BUS}", stream, first)
        #: All of them, those first that are missed least: of which nobody has asked for anything.
        self.first_to_last = (
            self.over.of("sent_seq = 0"), self.over.of("sent_seq > 0"),
            still.of("sent_seq = 0"), still.of("sent_seq > 0"), Which("1", is_open=True),
        )  # fmt: skip
