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
import math
import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from mcp_agentbus.archive.entries import Change
from mcp_agentbus.archive.kept.failing import what_to_do
from mcp_agentbus.archive.kept.newer import update
from mcp_agentbus.archive.kept.removed import (
    BUS_KEEPS,
    NOTE_REMOVED,
    TAKEN,
    Going,
    Removed,
    Which,
    Why,
)
from mcp_agentbus.archive.kept.tables import ADDED, SCHEMA, TABLES, WHOLE_SINCE
from mcp_agentbus.config.settings import Keeps
from mcp_agentbus.core import text
from mcp_agentbus.core.files import make_private_file
from mcp_agentbus.errors import ArchiveBroken, BadSetup

#: Seconds to wait for another process that writes: its transactions take milliseconds.
_BUSY_S: Final = 2.0
# So long, in seconds, what is read as it is closed may go on: most of it takes less.
_INTERRUPTED_AFTER_S: Final = 0.01
# Of so many bytes tasks are removed in one transaction, and of so many pages what is left is put in
# order: each takes a tenth of a second.
_AT_ONCE: Final = 512 << 10
_PAGES_AT_ONCE: Final = 500
# How full it is afterwards, so that it is not made smaller at each write.
_FULL: Final = 0.9


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
        self.path, self._keeps = path, keeps
        # Whoever is cancelled leaves a thread at work here: closing it waits for what that writes,
        # and interrupts what it reads.
        self._lock = threading.RLock()
        self._file: sqlite3.Connection
        #: By how much the clock of the bus server is before this machine's, as far as it is known.
        self.ahead = timedelta(0)
        #: The stream of the bus that is used, by its tasks' column; None: no bus was reached.
        self.stream: str | None = None
        #: Something was written that `trim` has not looked at.
        self._changed = False

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
        with self._transaction():
            for change in changes:
                self._merge(change, of)
                self._changed = True
            self._file.execute(
                "INSERT INTO reached VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " low = min(low, excluded.low), high = max(high, excluded.high)"
                # What lies between two that others have read at once neither of them has read.
                " WHERE excluded.low <= high AND excluded.high >= low",
                (of, reached.wanted, reached.low, reached.high),
            )

    def note_request(self, owner: str, inbox: str, task_id: str, request: str) -> None:
        """Write down the whole text of a task."""
        if self._keeps.texts:
            with self._transaction():
                self._file.execute(
                    "UPDATE tasks SET request = ? WHERE owner = ? AND inbox = ? AND id = ?",
                    (_clean(request), owner, inbox, task_id),
                )

    def forget(self, tasks: Iterable[tuple[str, str, str]]) -> None:
        """Remove tasks of which no record is left on the bus: owner, inbox and id of each."""
        with self._transaction():
            self._file.executemany(
                "DELETE FROM tasks WHERE owner = ? AND inbox = ? AND id = ?", tasks
            )

    def lacking(self, changes: Sequence[Change]) -> set[tuple[str, str, str]]:
        """Return whose whole text is not known, of these tasks: owner, inbox and id of each."""
        lacking: set[tuple[str, str, str]] = set()
        if not self._keeps.texts:
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
        with self._transaction():
            self._file.execute("INSERT OR REPLACE INTO cursors VALUES (?, ?)", (name, step))

    def rows(self, question: str, *values: Any) -> list[sqlite3.Row]:
        """Return what a SELECT finds."""
        with self._usable():
            return self._file.execute(question, values).fetchall()

    def trim(self, there: datetime | None = None, first: int = 0) -> None:
        """Remove what is older than is kept, and the oldest where the file is too large.

        What is not over stays, and what the bus keeps, from which it would not be read again; but
        where nothing else is left that makes the file small enough.

        Args:
            there: the time by the bus server's clock; not known: nothing goes for its age.
            first: the first record that the bus keeps, by its sequence.
        """
        if not self._changed:
            return
        self._changed = False
        # A clock that is ahead would have all of it go.
        now = min(text.now(), there) if there else text.now()
        going = Going(self.stream, first, iso(now), iso(now - BUS_KEEPS))
        gone = 0.0
        if there:
            oldest = iso(now - timedelta(days=self._keeps.days))
            gone = self._remove(going.over.of("updated_at < ?", oldest), "days", enough=math.inf)
        limit, size = self._keeps.max_mb << 20, self._size()
        if size > limit:
            gone += self._make_room(going, limit * _FULL)
        elif gone > size * (1 - _FULL):
            self._forget_words()
        if gone:
            self._give_back()

    def _make_room(self, going: Going, limit: float) -> float:
        """Remove the first tasks to go until no more than that is in use; return as `_remove`."""
        removed = 0.0
        while True:
            # Before it is looked what is in use: of what went before the index may have it twice.
            self._forget_words()
            gone, over = 0.0, self._size() - limit
            for which in going.first_to_last:
                gone += self._remove(which, "max_mb", enough=over - gone)
            if not gone:
                return removed
            removed += gone

    def _remove(self, which: Which, why: Why, *, enough: float) -> float:
        """Remove tasks, the oldest first, a few at a time; return about how many bytes they had.

        Args:
            which: of which tasks.
            why: by which limit, which is noted.
            enough: of more bytes than that no further task goes.
        """
        oldest = f"SELECT n, updated_at, {TAKEN} FROM tasks WHERE {which.condition}"  # noqa: S608
        gone = 0.0
        while gone < enough:
            going, size, until = [], 0.0, ""
            with self._transaction():
                rows = self._file.execute(f"{oldest} ORDER BY updated_at", which.values)
                with closing(rows):  # left open they would keep the next step from writing
                    for n, until, taken in rows:  # noqa: B007 - of the last one it counts
                        going.append((n,))
                        size += taken
                        if size >= min(_AT_ONCE, enough - gone):
                            break
                self._file.executemany("DELETE FROM tasks WHERE n = ?", going)
                if going:
                    self._file.execute(NOTE_REMOVED, (why, until, which.is_open))
            if not going:
                break
            gone += size
        return gone

    def removed(self) -> tuple[Removed, ...]:
        """Return what was removed for its age, and for want of room."""
        rows = self.rows("SELECT why, until, unfinished FROM removed ORDER BY why")
        return tuple(
            Removed(why, datetime.fromisoformat(until), bool(unfinished))
            for why, until, unfinished in rows
        )

    def _forget_words(self) -> None:
        """Have the index let go of the words of what was removed, of which it has noted that alone.

        They take as much room as before until all of it is merged, which is done a few pages at a
        time: others write meanwhile.
        """
        pages, changed = -_PAGES_AT_ONCE, 2  # a negative number has it begin with all there is
        while changed > 1:  # as it says that it has found nothing to merge
            with self._transaction():
                before = self._file.total_changes
                self._file.execute("INSERT INTO words (words, rank) VALUES ('merge', ?)", (pages,))
                changed = self._file.total_changes - before
            pages = _PAGES_AT_ONCE

    def _give_back(self) -> None:
        """Have the file become smaller by what is not in use, a few pages at a time."""
        before, free = math.inf, self._free()
        while before > free:
            # Each row that is fetched is one page.
            self.rows(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})")
            before, free = free, self._free()

    def _free(self) -> int:
        """Return how many pages of the file are not in use."""
        return int(self.rows("PRAGMA freelist_count")[0][0])

    def _size(self) -> int:
        """Return how many bytes are in use."""
        pages, size = (
            int(self.rows(f"PRAGMA {name}")[0][0]) for name in ("page_count", "page_size")
        )
        return (pages - self._free()) * size

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
                 _clean(step.note) if self._keeps.texts else "", *whose)
                for step in change.steps
            ],
        )  # fmt: skip

    def _kept(self, name: str, value: Any) -> Any:
        """Return a value as its column has it; of texts nothing, where they are not to be kept."""
        if name in {"request", "summary", "result"} and not self._keeps.texts:
            return ""
        if isinstance(value, datetime):
            return iso(value)
        if isinstance(value, tuple):
            return _clean(json.dumps(value if self._keeps.texts else (), ensure_ascii=False))
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
        file.execute("PRAGMA journal_mode = WAL").fetchone()
        file.execute("PRAGMA synchronous = NORMAL")
        if version < SCHEMA:
            with self._transaction():
                # Another process may have made them meanwhile.
                (version,) = file.execute("PRAGMA user_version").fetchone()
                for table in ADDED if version else (*TABLES, *ADDED):
                    file.execute(table)
                if version < WHOLE_SINCE:  # all that the bus has is read anew, once
                    file.execute("DELETE FROM reached")
                file.execute(f"PRAGMA user_version = {max(version, SCHEMA)}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._usable():
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield
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
