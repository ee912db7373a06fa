# SPDX-License-Identifier: Apache-2.0
"""The archive's file: the tasks of this user, each step of them, and an index of their words.

    >>> with Archive(settings.archive_file, settings.archive) as archive:
    ...     archive.note(changes, Reached("agentbus.*.*.*.*", low=1, high=48), of=stream)

One SQLite file of this user alone, to which every process of this user may write at once. All in it
can be read from the bus again for 30 days, so nothing waits for a disk: it is in WAL mode, which
syncs at its checkpoints only. What it knows of tasks stands in `entries`, in words of the bus.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from mcp_agentbus.archive.entries import Change
from mcp_agentbus.archive.kept.faults import what_to_do
from mcp_agentbus.archive.kept.newer import update
from mcp_agentbus.archive.kept.removed import Removed
from mcp_agentbus.archive.kept.tables import (
    ADDED,
    SCHEMA,
    TABLES,
    TIMES,
    TIMES_MENDED,
    WHOLE_SINCE,
)
from mcp_agentbus.config.settings import Keeps
from mcp_agentbus.core import locks, text
from mcp_agentbus.core.files import make_private_file
from mcp_agentbus.errors import ArchiveBroken, BadSetup

#: Seconds to wait for another process that writes: its transactions take milliseconds.
_BUSY_S: Final = 2.0
# So long, in seconds, what is read as it is closed may go on: most of it takes less.
_INTERRUPTED_AFTER_S: Final = 0.01


@dataclass(frozen=True)
class Reached:
    """What was read of a stream's records: all `wanted` ones from `low` until before `high`."""

    #: A subject, with wildcards.
    wanted: str
    low: int
    high: int


class Archive:
    """The archive; open within its `with` block. Its methods may be called from any thread.

    All of them raise `ArchiveBroken`: the disk is full, the file is damaged, not private, of a
    newer version, or was locked for longer than two seconds.
    """

    def __init__(self, path: Path | None, keeps: Keeps) -> None:
        """Make one that lies at `path`, or, if that is None, in this process's memory alone."""
        self.path, self.keeps = path, keeps
        # Whoever is cancelled leaves a thread at work here: closing it waits for what that writes,
        # and interrupts what it reads.
        self._lock = threading.RLock()
        self._file: sqlite3.Connection
        #: By how much the clock of the bus server is before this machine's, as far as it is known.
        self.ahead = timedelta(0)
        #: The stream of the bus that is used, by its tasks' column; None: no bus was reached.
        self.stream: str | None = None
        #: Something was written that `trim` has not looked at.
        self.is_grown = False

    def __enter__(self) -> Self:
        with self._usable():
            if self.path:
                make_private_file(self.path)
            self._file = sqlite3.connect(
                self.path or ":memory:",
                timeout=_BUSY_S,
                isolation_level=None,
                check_same_thread=False,
            )
            self._file.row_factory = sqlite3.Row
            self._prepare()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Nobody awaits what is at work still, and it may be a search among all the words of years:
        # a listener that waited for its end would do nothing else. What is written takes no time.
        while not self._lock.acquire(timeout=_INTERRUPTED_AFTER_S):
            if not self._file.in_transaction:
                self._file.interrupt()
        try:
            self._file.close()
        finally:
            self._lock.release()

    def now(self) -> datetime:
        """Return what time it is for what is written down here, such as deadlines."""
        return text.now() + self.ahead

    def reached(self, stream: str, wanted: str) -> Reached | None:
        """Return what has been read of a stream; None if nothing has."""
        rows = self.rows("SELECT * FROM reached WHERE stream = ? AND wanted = ?", stream, wanted)
        return Reached(wanted, rows[0]["low"], rows[0]["high"]) if rows else None

    def note(self, changes: Iterable[Change], reached: Reached, *, of: str) -> None:
        """Write down what was read of the stream `of`, and how far."""
        with self.transaction():
            for change in changes:
                self._merge(change, of)
                self.is_grown = True
            self._file.execute(
                "INSERT INTO reached VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " low = min(low, excluded.low), high = max(high, excluded.high)"
                # What lies between two that others have read at once neither of them has read.
                " WHERE excluded.low <= high AND excluded.high >= low",
                (of, reached.wanted, reached.low, reached.high),
            )

    def note_request(self, owner: str, inbox: str, task_id: str, request: str) -> None:
        """Write down the whole text of a task."""
        if self.keeps.texts:
            with self.transaction():
                self._file.execute(
                    "UPDATE tasks SET request = ? WHERE owner = ? AND inbox = ? AND id = ?",
                    (_clean(request), owner, inbox, task_id),
                )

    def forget(self, tasks: Iterable[tuple[str, str, str]]) -> None:
        """Remove tasks of which no record is left on the bus: owner, inbox and id of each."""
        with self.transaction():
            self._file.executemany(
                "DELETE FROM tasks WHERE owner = ? AND inbox = ? AND id = ?", tasks
            )

    def lacking(self, changes: Sequence[Change]) -> set[tuple[str, str, str]]:
        """Return whose whole text is not known, of these tasks: owner, inbox and id of each."""
        lacking: set[tuple[str, str, str]] = set()
        if not self.keeps.texts:
            return lacking
        for change in changes:
            whose = change.owner, change.inbox, change.task_id
            question = (
                "SELECT 1 FROM tasks WHERE owner = ? AND inbox = ? AND id = ?"
                " AND length(request) < request_chars"
            )
            if self.rows(question, *whose):
                lacking.add(whose)
        return lacking

    def note_cursor(self, name: str, step: int) -> None:
        """Write down how far whoever has that name has read the steps."""
        with self.transaction():
            self._file.execute("INSERT OR REPLACE INTO cursors VALUES (?, ?)", (name, step))

    def rows(self, question: str, *values: Any) -> list[sqlite3.Row]:
        """Return what a SELECT finds."""
        with self._usable():
            return self._file.execute(question, values).fetchall()

    def removed(self) -> tuple[Removed, ...]:
        """Return what was removed for its age, and for want of room."""
        rows = self.rows("SELECT why, until, unfinished FROM removed ORDER BY why")
        return tuple(
            Removed(why, datetime.fromisoformat(until), bool(unfinished))
            for why, until, unfinished in rows
        )

    def _merge(self, change: Change, stream: str) -> None:
        """Write a change into its task's row, unless what stands there is newer; and its steps."""
        values = {name: self._kept(name, value) for name, value in change.values.items()}
        first = {
            "owner": change.owner, "inbox": change.inbox, "id": change.task_id, "stream": stream,
            "created_at": iso(change.at), "updated_at": iso(change.at),
        }  # fmt: skip
        if change.counted_by:
            values[change.counted_by] = change.seq
        columns = first | values
        # Names of columns are this room's own.
        insert = (
            f"INSERT INTO tasks ({', '.join(columns)})"  # noqa: S608
            f" VALUES ({', '.join('?' * len(columns))}) ON CONFLICT (owner, inbox, id) DO "
        )
        self._file.execute(insert + update(values, change.counted_by), tuple(columns.values()))
        self._add_steps(change)

    def _add_steps(self, change: Change) -> None:
        whose = (change.owner, change.inbox, change.task_id)
        self._file.executemany(
            "INSERT INTO steps (task, at, state, by, reason, note)"
            " SELECT n, ?, ?, ?, ?, ? FROM tasks WHERE owner = ? AND inbox = ? AND id = ?"
            # One that was written while its note was cut has all of it, once that is read.
            " ON CONFLICT (task, at, state, by) DO UPDATE SET note = excluded.note"
            " WHERE length(excluded.note) > length(steps.note)",
            [
                (iso(step.at), step.state, step.by, _clean(step.reason),
                 _clean(step.note) if self.keeps.texts else "", *whose)
                for step in change.steps
            ],
        )  # fmt: skip

    def _kept(self, name: str, value: Any) -> Any:
        """Return a value as its column has it; of texts nothing, where they are not to be kept."""
        if name in {"request", "summary", "result"} and not self.keeps.texts:
            return ""
        if isinstance(value, datetime):
            return iso(value)
        if isinstance(value, tuple):
            return _clean(json.dumps(value if self.keeps.texts else (), ensure_ascii=False))
        return _clean(value) if isinstance(value, str) else value

    def _prepare(self) -> None:
        """Make the tables of a new file, and set how this connection writes."""
        file = self._file
        file.execute("PRAGMA foreign_keys = ON")
        (version,) = file.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA:
            raise ArchiveBroken(
                f"The archive {self.path} was written by a newer agentbus.",
                hint="Upgrade agentbus.",
            )
        if version == 0:
            file.execute("PRAGMA auto_vacuum = INCREMENTAL")
        locks.write_ahead(file, _BUSY_S)
        file.execute("PRAGMA synchronous = NORMAL")
        if version < SCHEMA:
            with self.transaction():
                # Another process may have made them meanwhile.
                (version,) = file.execute("PRAGMA user_version").fetchone()
                for table in ADDED if version else (*TABLES, *ADDED):
                    file.execute(table)
                if version < WHOLE_SINCE:  # all that the bus has is read anew, once
                    file.execute("DELETE FROM reached")
                file.execute(f"PRAGMA user_version = {max(version, SCHEMA)}")
        self._mend_times()

    def _mend_times(self) -> None:
        """Mend once what times an earlier agentbus has written down."""
        mended = "SELECT 1 FROM cursors WHERE name = ?"
        if self.rows(mended, TIMES_MENDED):
            return
        with self.transaction() as file:
            # Another process may have done it meanwhile.
            for mend in () if self.rows(mended, TIMES_MENDED) else TIMES:
                file.execute(mend)
            file.execute("INSERT OR IGNORE INTO cursors VALUES (?, 0)", (TIMES_MENDED,))

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write within the block: all of it, or, where that fails, nothing."""
        with self._usable():
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield self._file
                self._file.execute("COMMIT")
            except BaseException:
                if self._file.in_transaction:
                    self._file.execute("ROLLBACK")
                raise

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            with self._lock:
                yield
        except BadSetup as error:
            raise ArchiveBroken(error.message, hint=error.hint) from None
        except (sqlite3.Error, OSError) as error:
            reason = (isinstance(error, OSError) and error.strerror) or str(error)
            raise ArchiveBroken(
                f"The archive {self.path} cannot be used: {' '.join(reason.split())}.",
                hint=what_to_do(error),
            ) from error


def listed(words: Collection[str]) -> str:
    """Return words of this program's own, such as states, as a condition lists them."""
    return ", ".join(f"'{word}'" for word in sorted(words))


def iso(at: datetime) -> str:
    """Return a time in UTC and of one length, so that texts are in order as times are.

    In milliseconds, as tasks have theirs: so a step is one, whichever record tells of it.
    """
    return at.astimezone(UTC).isoformat(timespec="milliseconds")


def _clean(value: str) -> str:
    """Return what SQLite can store: a text without a zero byte, at which others would end."""
    return value.replace("\0", "\u2400")
