# SPDX-License-Identifier: Apache-2.0
"""The tables of the record of wakes, and by which version of them it is known.

>>> file.execute(TABLES[0])
"""

from __future__ import annotations

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
