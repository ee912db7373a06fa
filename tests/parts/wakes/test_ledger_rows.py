# SPDX-License-Identifier: Apache-2.0
"""What the ledger tells of past wakes, and what it remembers of a file that has changed under it."""

import contextlib
import sqlite3
import time
from datetime import UTC, datetime, timedelta

import pytest

from mcp_agentbus.wakes import ledger as module
from mcp_agentbus.wakes.facts import PastWake
from mcp_agentbus.wakes.ledger import Ledger, LedgerBroken, Row

NOW = datetime.now(UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "ledger.db"


@pytest.fixture
def ledger(path):
    ledger = Ledger(path)
    yield ledger
    ledger.close()


def note(ledger, agent="coder", at=NOW, **fields):
    return ledger.note(agent, "start", keys=["task a"], senders=["planner"], at=at, **fields)


def end(ledger, wake, read=None, **fields):
    ledger.ended(wake, at=NOW, said="", **{"outcome": "exited", **fields})
    if read is not None:
        ledger.led_to_read(wake, read)


def test_the_past_has_all_that_a_decision_is_made_from(ledger):
    ends = [
        {"read": False}, {"read": True, "usd": 0.5}, {"read": False, "interrupted": True}, {},
        {"outcome": "not_started"},
    ]  # fmt: skip
    for fields in ends:
        end(ledger, note(ledger), **fields)

    common = NOW, frozenset({"task a"}), frozenset({"planner"}), NOW
    assert ledger.past("coder", NOW) == (
        PastWake(*common, False),
        PastWake(*common, True, usd=0.5),
        PastWake(*common, False, interrupted=True),
        PastWake(*common),
        PastWake(*common, begun=False),
    )


@pytest.mark.parametrize(
    ("started", "ended", "usd"),
    [
        ((2.0,), {}, 2.0),
        ((2.0,), {"usd": 0.5}, 0.5),
        ((2.0,), None, 0.0),  # of what runs it may yet be told
        ((None,), {}, 0.0),
        ((), {}, 0.0),
    ],
)
def test_what_ended_without_a_word_of_its_cost_counts_for_all_that_its_run_might_cost(
    ledger, started, ended, usd
):
    wake = note(ledger)
    for unsaid in started:
        ledger.started(wake, 4711, "mark", unsaid)
    if ended is not None:
        end(ledger, wake, **ended)

    [row] = ledger.latest("coder")
    assert [row.usd_counted, *(wake.usd for wake in ledger.past("coder", NOW))] == [usd, usd]


def test_in_a_ledger_of_before_no_run_counts_for_more_than_it_has_said(ledger, path):
    end(ledger, note(ledger))
    ledger.close()
    with contextlib.closing(sqlite3.connect(path)) as before:
        before.executescript("DROP TRIGGER unsaid_goes; DROP TABLE unsaid")
    wake = note(ledger)
    ledger.started(wake, 4711, "mark", 1.0)
    end(ledger, wake)

    assert [wake.usd for wake in ledger.past("coder", NOW)] == [0.0, 1.0]


def test_what_a_run_counts_for_goes_with_its_wake(ledger, path):
    wake = note(ledger, at=NOW - module.KEPT - MINUTE)
    ledger.started(wake, 4711, "mark", 1.0)
    end(ledger, wake)
    note(ledger)
    ledger.tidy(NOW + MINUTE)

    with contextlib.closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT * FROM unsaid").fetchall() == []


def test_of_a_wake_nothing_is_said_before_it_is_known(ledger):
    wake = note(ledger)

    [row] = ledger.latest("coder")
    assert row == Row(
        id=wake, agent="coder", means="start", keys=frozenset({"task a"}),
        senders=frozenset({"planner"}), at=NOW, live_only=False, pid=None, born="", ended_at=None,
        outcome="", said="", exit_code=None, output="", usd=None, interrupted=False,
        led_to_read=None, cleared=False, end_written=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("before", "last", "left"),
    [
        ({"read": True}, {"read": False}, 2),
        ({"read": False}, {"read": True}, None),
        ({"read": False}, {}, None),
        ({"read": False}, {"read": True, "interrupted": True}, 1),
    ],
)
def test_the_latest_wake_that_counts_is_told_if_it_led_to_no_read(ledger, before, last, left):
    for fields in (before, last):
        end(ledger, note(ledger), **fields)
    end(ledger, note(ledger, live_only=True), read=False)
    end(ledger, note(ledger, "tester"), read=False)

    row = ledger.left_unread("coder")

    assert (row and row.id) == left


def test_a_failure_that_was_cleared_is_left_no_more(ledger):
    end(ledger, note(ledger), read=False)
    ledger.clear_failures("coder")

    assert ledger.left_unread("coder") is None


def test_the_latest_are_five_unless_more_are_asked_for(ledger):
    wakes = [note(ledger) for _ in range(6)]

    assert [row.id for row in ledger.latest("coder")] == wakes[:0:-1]
    assert [row.id for row in ledger.latest("coder", 9)] == wakes[::-1]


def test_wakes_since_then_are_told_in_the_order_of_their_times(ledger):
    ats = [NOW, NOW - MINUTE, NOW - 2 * MINUTE, NOW]
    ids = [note(ledger, agent, at) for agent, at in zip("abab", ats, strict=True)]

    assert [row.id for row in ledger.since(NOW - MINUTE)] == [ids[1], ids[0], ids[3]]


def test_an_agent_is_remembered_with_its_last_conversation_that_had_an_id(ledger):
    ledger.remember("coder", "s1")
    ledger.remember("coder", "")
    ledger.remember("tester", "")

    assert ledger.remembered() == {"coder", "tester"}
    assert (ledger.host_session("coder"), ledger.host_session("tester")) == ("s1", "")


def test_what_another_has_written_while_it_was_closed_is_of_the_past(ledger, path):
    note(ledger)
    assert len(ledger.past("coder", NOW)) == 1
    ledger.close()
    other = Ledger(path)
    note(other)
    other.close()

    assert len(ledger.past("coder", NOW)) == 2


def test_a_wake_is_of_the_past_for_less_than_a_day_also_once_it_was_read(ledger):
    note(ledger, at=NOW - timedelta(hours=23))

    later = (timedelta(minutes=59), timedelta(hours=1))
    assert [len(ledger.past("coder", NOW + each)) for each in (0 * MINUTE, *later)] == [1, 1, 0]


def test_a_file_that_is_moved_away_once_it_broke_is_made_anew(ledger, path, tmp_path):
    note(ledger)
    ledger._file.execute("DROP TABLE wakes")
    with pytest.raises(LedgerBroken, match="no such table"):
        note(ledger)

    path.parent.rename(tmp_path / "moved")

    assert note(ledger) == 1
    assert (tmp_path / "moved" / "ledger.db").exists()


def test_a_lock_is_waited_for_no_longer_than_it_says(ledger, path, monkeypatch):
    """SQLite itself would wait for five seconds."""
    monkeypatch.setattr(module, "_BUSY_S", 0.05)
    note(ledger)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    with pytest.raises(LedgerBroken, match="database is locked"):
        note(ledger)
    other.close()

    assert time.monotonic() - began < 4
