# SPDX-License-Identifier: Apache-2.0
"""The tables of the archive's file, and by which version of them it is known.

>>> file.execute(TABLES[0])
"""

from __future__ import annotations

from typing import Final

#: The version of the tables, in the file's `user_version`; 0 is a new file.
SCHEMA: Final = 3
#: In a file of an earlier version than this what counts as read may have holes: a bus that went
#: away in the middle had been noted as read to its end.
WHOLE_SINCE: Final = 2
#: The cursor of a file in which no task is said to have become what it is when its sender's record
#: was stored, after its worker's last step; nobody reads by that name. The version does not tell:
#: whoever wrote such times can use these tables, as a listener does under which all is upgraded.
TIMES_MENDED: Final = ""

TABLES: Final = (
    """
    CREATE TABLE tasks (
        n INTEGER PRIMARY KEY,
        owner TEXT NOT NULL, inbox TEXT NOT NULL, id TEXT NOT NULL,
        -- Which stream of the bus it was read from, and by which message each of its two records.
        stream TEXT NOT NULL, sent_seq INTEGER NOT NULL DEFAULT 0,
        record_seq INTEGER NOT NULL DEFAULT 0,
        subject TEXT NOT NULL DEFAULT '', thread_id TEXT NOT NULL DEFAULT '',
        priority TEXT NOT NULL DEFAULT 'normal', task_type TEXT NOT NULL DEFAULT 'default',
        expect TEXT NOT NULL DEFAULT 'answer', asked_by TEXT NOT NULL DEFAULT '',
        in_reply_to TEXT, created_at TEXT NOT NULL, expires_at TEXT, deliver_at TEXT, seen_at TEXT,
        request TEXT NOT NULL DEFAULT '', request_chars INTEGER NOT NULL DEFAULT 0,
        state TEXT NOT NULL DEFAULT 'stored', agent TEXT NOT NULL DEFAULT '',
        session TEXT NOT NULL DEFAULT '', attempts INTEGER NOT NULL DEFAULT 0,
        summary TEXT NOT NULL DEFAULT '', result TEXT NOT NULL DEFAULT '',
        artifacts TEXT NOT NULL DEFAULT '[]', -- a list in JSON
        progress REAL, reason TEXT NOT NULL DEFAULT '', late INTEGER NOT NULL DEFAULT 0,
        updated_at TEXT NOT NULL,
        UNIQUE (owner, inbox, id)
    )
    """,
    "CREATE INDEX tasks_by_owner ON tasks (owner, created_at)",
    "CREATE INDEX tasks_by_inbox ON tasks (inbox, created_at)",
    "CREATE INDEX tasks_by_time ON tasks (created_at)",
    "CREATE INDEX tasks_by_change ON tasks (updated_at)",
    "CREATE INDEX tasks_by_state ON tasks (state, owner)",
    "CREATE INDEX tasks_by_thread ON tasks (thread_id)",
    "CREATE INDEX tasks_by_id ON tasks (id)",
    """
    CREATE TABLE steps (
        n INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order in which they became known
        task INTEGER NOT NULL REFERENCES tasks (n) ON DELETE CASCADE,
        at TEXT NOT NULL, state TEXT NOT NULL, by TEXT NOT NULL,
        reason TEXT NOT NULL DEFAULT '', note TEXT NOT NULL DEFAULT '',
        UNIQUE (task, at, state, by)
    )
    """,
    "CREATE INDEX steps_by_time ON steps (at)",
    # How far a stream's records have been read: all of `wanted` from `low` until before `high`.
    """
    CREATE TABLE reached (
        stream TEXT NOT NULL, wanted TEXT NOT NULL, low INTEGER NOT NULL, high INTEGER NOT NULL,
        PRIMARY KEY (stream, wanted)
    )
    """,
    # A cursor of whoever reads on from where it was, such as an export.
    "CREATE TABLE cursors (name TEXT PRIMARY KEY, step INTEGER NOT NULL)",
    """
    CREATE VIRTUAL TABLE words USING fts5
        (subject, request, summary, result, content='tasks', content_rowid='n')
    """,
    """
    CREATE TRIGGER tasks_in AFTER INSERT ON tasks BEGIN
        INSERT INTO words (rowid, subject, request, summary, result)
        VALUES (new.n, new.subject, new.request, new.summary, new.result);
    END
    """,
    """
    CREATE TRIGGER tasks_out AFTER DELETE ON tasks BEGIN
        INSERT INTO words (words, rowid, subject, request, summary, result)
        VALUES ('delete', old.n, old.subject, old.request, old.summary, old.result);
    END
    """,
    """
    CREATE TRIGGER tasks_anew AFTER UPDATE OF subject, request, summary, result ON tasks BEGIN
        INSERT INTO words (words, rowid, subject, request, summary, result)
        VALUES ('delete', old.n, old.subject, old.request, old.summary, old.result);
        INSERT INTO words (rowid, subject, request, summary, result)
        VALUES (new.n, new.subject, new.request, new.summary, new.result);
    END
    """,
)
#: What a file of an earlier version lacks.
ADDED: Final = (
    # Until when tasks were removed, by the key of [archive] that had them go; and whether some of
    # them were not over.
    """
    CREATE TABLE IF NOT EXISTS removed
        (why TEXT PRIMARY KEY, until TEXT NOT NULL, unfinished INTEGER NOT NULL)
    """,
)
#: How such times are mended, also of tasks that the bus has no longer: the steps have them.
TIMES: Final = (
    "UPDATE tasks SET updated_at = created_at WHERE record_seq = 0 AND sent_seq > 0",
    """
    UPDATE tasks SET updated_at = coalesce(
        (SELECT at FROM steps WHERE task = tasks.n AND state = tasks.state ORDER BY n DESC LIMIT 1),
        updated_at
    )
    WHERE record_seq > 0 AND NOT EXISTS (
        SELECT 1 FROM steps WHERE task = tasks.n AND at = tasks.updated_at AND state = tasks.state
    )
    """,
)
