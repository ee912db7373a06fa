# SPDX-License-Identifier: Apache-2.0
"""The durable record of wakes: noted on disk before anything is started.

    >>> wake = ledger.note("coder", "start", keys={"task 7f"}, senders={"planner"}, at=now)
    >>> ledger.started(wake, process.pid, born)
    >>> ledger.ended(wake, at=later, outcome="exited", said="exit code 0 after 3 s", exit_code=0)
    >>> ledger.led_to_read(wake, True)

One SQLite file of this user alone. A listener that was killed finds here what it had started, and
a wake that cannot be noted is not begun (`LedgerBroken`). It knows ids, times and outcomes; of a
task's text it keeps nothing, of a host's output the end, for its user.

What must not be lost with the power waits for the disk: that a wake begins, and what a person has
decided. The rest is about processes that the power takes along, and outlives a kill without that.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.core import locks
from mcp_agentbus.core.files import make_private_file
from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import BadSetup
from mcp_agentbus.wakes.facts import DAY, PastWake
from mcp_agentbus.wakes.tables import ADDED, ROWS, SCHEMA, TABLES, as_iso, as_json, as_text

#: Wakes that are older than the latest by more interest nobody.
KEPT: Final = timedelta(days=30)
# By less clocks are set all the time; what is dated ahead by that counts as of now.
_AHEAD: Final = timedelta(minutes=1)
# A clock that says less has lost its battery, and by it nothing is written anew.
_WRITTEN: Final = datetime(2026, 7, 1, tzinfo=UTC)
#: Seconds to wait for another process that writes: its transactions take milliseconds.
_BUSY_S: Final = 2.0
# Conditions, each with one value: the time from which on a wake is of the future.
_DATED_AHEAD: Final = "max(at, coalesce(ended_at, '')) > ?"
_LATEST: Final = "(SELECT julianday(max(at)) FROM wakes WHERE at <= ?)"
_OLD: Final = f"ended_at IS NOT NULL AND julianday(at) < {_LATEST} - {KEPT.days}"


class LedgerBroken(Exception):
    """The record of wakes cannot be read or written."""

    #: What to do about it.
    hint: Final = "Mend or move that file; nothing is woken."


@dataclass(frozen=True)
class Row:
    """A wake as it is recorded."""

    id: int
    agent: str
    #: `nudge` or `start`.
    means: str
    keys: frozenset[str]
    senders: frozenset[str]
    at: datetime
    live_only: bool
    #: None if no process was started, or the listener was killed before it could say which.
    pid: int | None
    #: The `mark` of the process: a pid alone may be another's by now, or in another container.
    born: str
    #: None while it runs.
    ended_at: datetime | None
    outcome: str
    #: The outcome in a sentence, for people.
    said: str
    exit_code: int | None
    #: The last that the process wrote.
    output: str
    usd: float | None
    interrupted: bool
    #: Whether anything was read afterwards; None if that is not known (yet).
    led_to_read: bool | None
    #: Whether a person has cleared its failure.
    cleared: bool
    #: Whether the lives of its tasks say how it ended.
    end_written: bool
    #: All that its run might cost, where its host limits that and a process was started.
    usd_unsaid: float | None = None

    @property
    def usd_counted(self) -> float:
        """What it counts for: all that it might cost, where it has ended and not said what it did.

        Of one that runs it may yet be said.
        """
        return self.usd if self.usd is not None else (self.ended_at and self.usd_unsaid) or 0.0


# Three columns are older than the names of what they hold.
_COLUMNS: Final = {"fruitful": "led_to_read", "forgiven": "cleared", "told": "end_written"}


class Ledger:
    """The wakes of this machine; opened when it is first used, and anew after it was broken.

    Its methods may be called from any thread. All of them raise `LedgerBroken`: the disk is full,
    the file is damaged, read-only, not private, or was locked for longer than two seconds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        #: What `past` has read, by agent, and since when; as of a version of the file, which the
        #: writes of other processes change.
        self._past: dict[str, tuple[datetime, list[Row]]] = {}
        self._version = 0

    def close(self) -> None:
        """Close the file. The next call opens it again."""
        with self._lock:
            self._drop()

    def note(
        self,
        agent: str,
        means: str,
        *,
        keys: Iterable[str],
        senders: Iterable[str],
        at: datetime,
        live_only: bool = False,
    ) -> int:
        """Record a wake that is about to begin, on disk when this returns; return its number.

        Raises:
            LedgerBroken: it is not recorded and must not begin.
        """
        values = (agent, means, as_json(keys), as_json(senders), as_iso(at), live_only)
        with self._transaction(synced=True) as file:
            wake = file.execute(
                "INSERT INTO wakes (agent, means, keys, senders, at, live_only)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                values,
            ).lastrowid
        return wake or 0

    def started(self, wake: int, pid: int, born: str, usd_unsaid: float | None = None) -> None:
        """Record the process of a wake, and what it counts for if it never says what it did cost.

        Now, as the rules for which it is started may be others at its end.
        """
        self._change(wake, usd_unsaid, pid=pid, born=born)

    def ended(
        self,
        wake: int,
        *,
        at: datetime,
        outcome: str,
        said: str,
        exit_code: int | None = None,
        output: str = "",
        usd: float | None = None,
        interrupted: bool = False,
    ) -> None:
        """Record how a wake ended."""
        self._change(
            wake,
            ended_at=as_iso(at),
            outcome=outcome,
            said=as_text(said),
            exit_code=exit_code,
            output=as_text(output),
            usd=usd,
            interrupted=interrupted,
        )

    def led_to_read(self, wake: int, read: bool) -> None:  # noqa: FBT001 - it is all that it says
        """Record whether anything that a wake told of was read afterwards."""
        self._change(wake, fruitful=read)

    def clear_failures(self, agent: str) -> None:
        """Let all wakes of an agent so far count for its budget only."""
        with self._transaction(synced=True) as file:
            file.execute("UPDATE wakes SET forgiven = 1 WHERE agent = ?", (agent,))

    def end_written(self, wake: int) -> None:
        """Record that the lives of its tasks say how a wake ended."""
        self._change(wake, told=True)

    def ends_unwritten(self, after: int = 0, limit: int = 100) -> list[Row]:
        """Return the wakes after one whose end is not `end_written` yet, oldest first."""
        ended = "id > ? AND told = 0 AND ended_at IS NOT NULL"
        return self._rows(f"{ended} ORDER BY id LIMIT ?", after, limit)

    def unended(self) -> list[Row]:
        """Return the wakes without an end, oldest first."""
        return self._rows("ended_at IS NULL ORDER BY id")

    def latest(self, agent: str, limit: int = 5) -> list[Row]:
        """Return the latest wakes of an agent, newest first."""
        return self._rows("agent = ? ORDER BY id DESC LIMIT ?", agent, limit)

    def left_unread(self, agent: str) -> Row | None:
        """Return the latest wake of an agent that counts, if it led to no read."""
        counts = "agent = ? AND NOT (live_only OR forgiven OR interrupted)"
        latest = self._rows(f"{counts} ORDER BY id DESC LIMIT 1", agent)
        return next((row for row in latest if row.led_to_read is False), None)

    def since(self, at: datetime) -> list[Row]:
        """Return the wakes of all agents since then, oldest first."""
        return self._rows("at >= ? ORDER BY at, id", as_iso(at))

    def past(self, agent: str, now: datetime) -> tuple[PastWake, ...]:
        """Return the wakes of an agent in the last 24 hours, oldest first.

        A wake of the future, noted before the clock was set back, counts as one of now.
        """
        now = now.astimezone(UTC)
        with self._opened() as file:
            rows = [row for row in self._last_day(file, agent, now - DAY) if row.at > now - DAY]
        return tuple(
            PastWake(
                at=min(row.at, now),
                keys=row.keys,
                senders=row.senders,
                ended_at=row.ended_at and min(row.ended_at, now),
                led_to_read=row.led_to_read,
                interrupted=row.interrupted,
                cleared=row.cleared,
                live_only=row.live_only,
                begun=row.outcome != "not_started",
                usd=row.usd_counted,
            )
            for row in rows
        )

    def tidy(self, now: datetime) -> int:
        """Remove what interests nobody any more; return how many wakes were dated anew, as of now.

        Those are of a clock that was ahead and was set back: until their time came they would count
        as of this moment, and hold their agents. By what is kept a clock that is ahead has no say.
        """
        if now < _WRITTEN:
            return 0
        soon, today = as_iso(now + _AHEAD), as_iso(now)
        if not self._rows(f"{_DATED_AHEAD} OR ({_OLD}) LIMIT 1", soon, soon):
            return 0
        with self._transaction() as file:
            file.execute(f"DELETE FROM wakes WHERE {_OLD}", (soon,))  # noqa: S608
            # Of nothing and a time `min` is nothing: a wake that runs has no end yet.
            return file.execute(
                "UPDATE wakes SET at = min(at, ?), ended_at = min(ended_at, ?)"  # noqa: S608
                f" WHERE {_DATED_AHEAD}",
                (today, today, soon),
            ).rowcount

    def _last_day(self, file: sqlite3.Connection, agent: str, since: datetime) -> list[Row]:
        """Return the wakes of an agent since then, or before, as they were read if none changed."""
        (version,) = file.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._past, self._version = {}, version
        read_since, rows = self._past.get(agent, (None, []))
        if read_since is None or read_since > since:
            rows = _read(file, "agent = ? AND at > ? ORDER BY at, id", agent, as_iso(since))
            self._past[agent] = since, rows
        return rows

    def remember(self, agent: str, host_session: str) -> None:
        """Record a session of an agent, and the host's own id of its conversation if it has one."""
        with self._transaction() as file:
            file.execute(
                "INSERT INTO sessions VALUES (?, ?) ON CONFLICT (agent) DO UPDATE"
                " SET host_session = excluded.host_session WHERE excluded.host_session != ''",
                (agent, host_session),
            )

    def remembered(self) -> frozenset[str]:
        """Return the agents of which a session was recorded."""
        with self._opened() as file:
            return frozenset(agent for (agent,) in file.execute("SELECT agent FROM sessions"))

    def host_session(self, agent: str) -> str:
        """Return what `remember` recorded, or nothing."""
        with self._opened() as file:
            rows = file.execute("SELECT host_session FROM sessions WHERE agent = ?", (agent,))
            return str((rows.fetchone() or ("",))[0])

    def _change(self, wake: int, usd_unsaid: float | None = None, **values: Any) -> None:
        columns = ", ".join(f"{column} = ?" for column in values)
        with self._transaction() as file:
            # The columns are the keyword arguments of this module's own calls.
            changed = file.execute(
                f"UPDATE wakes SET {columns} WHERE id = ?",  # noqa: S608
                (*values.values(), wake),
            )
            if changed.rowcount != 1:
                raise LedgerBroken(f"The ledger {self.path} has no wake {wake}.")
            if usd_unsaid is not None:
                file.execute("INSERT OR REPLACE INTO unsaid VALUES (?, ?)", (wake, usd_unsaid))

    def _rows(self, which: str, *values: Any) -> list[Row]:
        with self._opened() as file:
            return _read(file, which, *values)

    @contextmanager
    def _transaction(self, *, synced: bool = False) -> Iterator[sqlite3.Connection]:
        """Write something, which is on the disk afterwards if it is to be `synced`."""
        with self._opened() as file:
            self._past.clear()
            file.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
            file.execute("BEGIN IMMEDIATE")
            try:
                yield file
                file.execute("COMMIT")
            except BaseException:
                # After some errors SQLite has rolled back already.
                with suppress(sqlite3.Error):
                    file.execute("ROLLBACK")
                raise

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                if self._file is None:
                    self._open()
                assert self._file  # noqa: S101 - for mypy: `_open` has set it
                yield self._file
            except BadSetup as error:
                raise LedgerBroken(str(error)) from None
            except (sqlite3.Error, OSError, ValueError, LookupError, TypeError) as error:
                # Opened anew by the next call, which may find the cause mended.
                self._drop()
                reason = (isinstance(error, OSError) and error.strerror) or str(error)
                line = " ".join(reason.split())
                raise LedgerBroken(f"The ledger {self.path} cannot be used: {line}.") from error

    def _open(self) -> None:
        make_private_file(self.path)
        file = sqlite3.connect(
            self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            # A commit that is synced takes one sync then, five with a journal; one that is not
            # outlives a killed process. Both files beside it have the mode of this one.
            locks.write_ahead(file, _BUSY_S)
            file.execute("PRAGMA synchronous = FULL")
            file.execute("BEGIN IMMEDIATE")
            self._prepare(file)
            file.execute("COMMIT")
        except BaseException:
            file.close()
            raise
        self._file = file

    def _prepare(self, file: sqlite3.Connection) -> None:
        (version,) = file.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA:
            raise LedgerBroken(
                f"The ledger {self.path} was written by a newer agentbus. Upgrade agentbus."
            )
        if version == 0:
            for table in TABLES:
                file.execute(table)
            file.execute(f"PRAGMA user_version = {SCHEMA}")
        for addition in ADDED:
            file.execute(addition)
        (damage,) = file.execute("PRAGMA quick_check(1)").fetchone()
        if damage != "ok":
            raise sqlite3.DatabaseError(f"it is damaged: {damage}")

    def _drop(self) -> None:
        if self._file is not None:
            with suppress(sqlite3.Error):
                self._file.close()
            self._file = None
        self._past.clear()


def _read(file: sqlite3.Connection, which: str, *values: Any) -> list[Row]:
    # `which` is a constant of this module.
    rows = file.execute(f"{ROWS} WHERE {which}", values)
    columns = [column[0] for column in rows.description]
    return [_row(dict(zip(columns, row, strict=True))) for row in rows]


def _row(values: dict[str, Any]) -> Row:
    for name in ("live_only", "interrupted", "forgiven", "fruitful", "told"):
        values[name] = None if values[name] is None else bool(values[name])
    for name in ("keys", "senders"):
        values[name] = frozenset(from_json(values[name]))
    for name in ("at", "ended_at"):
        values[name] = values[name] and datetime.fromisoformat(values[name])
    return Row(**{_COLUMNS.get(name, name): value for name, value in values.items()})
