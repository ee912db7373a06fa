# SPDX-License-Identifier: Apache-2.0
"""The tables of the record of wakes, by which version they are known, and how values stand in them.

>>> file.execute(TABLES[0])
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

#: The version of the tables, in the file's `user_version`; 0 is a new file.
SCHEMA: Final = 1

TABLES: Final = (
    """
    CREATE TABLE wakes (
        id INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice: an `ended` may come late
        agent TEXT NOT NULL, means TEXT NOT NULL,
        keys TEXT NOT NULL, senders TEXT NOT NULL, -- lists in JSON
        at TEXT NOT NULL,
        live_only INTEGER NOT NULL,
        pid INTEGER, born TEXT NOT NULL DEFAULT '',
        ended_at TEXT,
        outcome TEXT NOT NULL DEFAULT '', said TEXT NOT NULL DEFAULT '',
        exit_code INTEGER, output TEXT NOT NULL DEFAULT '',
        usd REAL,
        interrupted INTEGER NOT NULL DEFAULT 0,
        fruitful INTEGER, -- NULL: not known (yet)
        forgiven INTEGER NOT NULL DEFAULT 0,
        told INTEGER NOT NULL DEFAULT 0
    )
    """,
    "CREATE INDEX wakes_of_agent ON wakes (agent, at)",
    "CREATE TABLE sessions (agent TEXT PRIMARY KEY, host_session TEXT NOT NULL)",
)

#: What a file of the same version may lack. A column of `wakes` would be refused by an agentbus of
#: before, which does not ask for a table beside it.
ADDED: Final = (
    "CREATE TABLE IF NOT EXISTS unsaid (wake INTEGER PRIMARY KEY, usd REAL NOT NULL)",
    """
    CREATE TRIGGER IF NOT EXISTS unsaid_goes AFTER DELETE ON wakes
    BEGIN DELETE FROM unsaid WHERE wake = old.id; END
    """,
)
#: The wakes with what each counts for that never said what it did cost.
ROWS: Final = "SELECT wakes.*, unsaid.usd AS usd_unsaid FROM wakes LEFT JOIN unsaid ON wake = id"


def as_json(values: Iterable[str]) -> str:
    """Return texts as one, in order."""
    return json.dumps(sorted(values))


def as_iso(at: datetime) -> str:
    """Return a time in UTC and of one length, so that texts are in order as times are."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def as_text(output: str) -> str:
    """Return what SQLite can store: what a process writes may be no valid UTF-8."""
    return output.encode("utf-8", "replace").decode()
