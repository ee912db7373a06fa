# SPDX-License-Identifier: Apache-2.0
"""A new file of SQLite's that two processes open at once."""

import contextlib
import sqlite3

import pytest

from mcp_agentbus.core import locks


@pytest.fixture
def opened(tmp_path):
    """Two openings of a new file: the first one has begun to read it."""
    with contextlib.ExitStack() as stack:
        pair = [
            stack.enter_context(
                contextlib.closing(
                    sqlite3.connect(tmp_path / "new.db", timeout=0, isolation_level=None)
                )
            )
            for _ in range(2)
        ]
        pair[0].execute("BEGIN")
        pair[0].execute("PRAGMA user_version").fetchone()
        yield pair


def test_one_that_another_process_opens_just_then_is_waited_for(opened, monkeypatch):
    first, second = opened
    monkeypatch.setattr(locks.time, "sleep", lambda _: first.execute("COMMIT"))

    locks.write_ahead(second, 60)

    assert second.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_one_that_stays_locked_is_said_to_be(opened):
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        locks.write_ahead(opened[1], 0)
