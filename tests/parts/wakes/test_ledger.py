# SPDX-License-Identifier: Apache-2.0
"""The ledger keeps what it has noted, and says so when it cannot."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest

from mcp_agentbus.wakes import ledger as module
from mcp_agentbus.wakes.facts import PastWake
from mcp_agentbus.wakes.ledger import Ledger, LedgerBroken

NOW = datetime.now(UTC)
MINUTE = timedelta(minutes=1)

# Runs in another process: argv[1] is the ledger.
_CHILD = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from mcp_agentbus.wakes.ledger import Ledger, LedgerBroken
ledger = Ledger(Path(sys.argv[1]))
def note(agent):
    at = datetime.now(UTC)
    return ledger.note(agent, "start", keys=["task a"], senders=["planner"], at=at)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "ledger.db"


@pytest.fixture
def ledger(path):
    ledger = Ledger(path)
    yield ledger
    ledger.close()


def _note(ledger, agent="coder", *keys, at=NOW, **fields):
    return ledger.note(
        agent, "start", keys=keys or ["task a"], senders=["planner"], at=at, **fields
    )


def _child(code, path):
    argv = [sys.executable, "-c", _CHILD + code, str(path)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def test_a_wake_from_its_note_to_its_end(ledger, path):
    """All that was recorded is read again, also by the next process."""
    wake = _note(ledger, "coder", "task a", "task b")
    (began,) = ledger.unended()
    ledger.started(wake, 4711, "12:00")
    ledger.ended(
        wake,
        at=NOW + MINUTE,
        outcome="failed",
        said="Exit code 3.",
        exit_code=3,
        output="no such model \udcff",
        usd=0.25,
        interrupted=True,
    )
    ledger.led_to_read(wake, False)
    ledger.close()
    again = Ledger(path)
    (row,) = again.latest("coder")
    again.close()

    assert (began.id, began.agent, began.means, began.at) == (wake, "coder", "start", NOW)
    assert (began.pid, began.born, began.ended_at, began.led_to_read) == (None, "", None, None)
    assert row.keys == {"task a", "task b"}
    assert row.senders == {"planner"}
    assert (row.pid, row.born) == (4711, "12:00")
    assert (row.ended_at, row.outcome, row.said) == (NOW + MINUTE, "failed", "Exit code 3.")
    assert (row.exit_code, row.output, row.usd) == (3, "no such model ?", 0.25)
    assert (row.interrupted, row.led_to_read, row.cleared) == (True, False, False)


def test_only_what_runs_has_no_end(ledger):
    """The others need no adoption."""
    first, second = _note(ledger), _note(ledger, "tester")
    ledger.ended(first, at=NOW, outcome="exited", said="")

    assert [row.id for row in ledger.unended()] == [second]


def test_the_latest_come_first(ledger):
    """Of one agent, and no more than asked for."""
    wakes = [_note(ledger) for _ in range(4)]
    _note(ledger, "tester")

    assert [row.id for row in ledger.latest("coder", 3)] == wakes[:0:-1]


def test_the_past_is_the_last_day_of_one_agent(ledger):
    """Oldest first; what is later than now counts as now."""
    _note(ledger, at=NOW - timedelta(hours=24))
    later = _note(ledger, at=NOW + MINUTE, live_only=True)
    ledger.ended(later, at=NOW + 2 * MINUTE, outcome="exited", said="", usd=1.5)
    berlin = timezone(timedelta(hours=2))
    _note(ledger, "coder", "task b", at=(NOW - timedelta(hours=23)).astimezone(berlin))
    _note(ledger, "tester")
    planner = frozenset({"planner"})

    assert ledger.past("coder", NOW.astimezone(berlin)) == (
        PastWake(NOW - timedelta(hours=23), frozenset({"task b"}), planner),
        PastWake(NOW, frozenset({"task a"}), planner, NOW, live_only=True, usd=1.5),
    )


def test_the_failures_of_wakes_are_cleared_up_to_now(ledger):
    """Not those that follow, nor those of other agents."""
    _note(ledger)
    _note(ledger, "tester")
    ledger.clear_failures("coder")
    _note(ledger)

    assert [wake.cleared for wake in ledger.past("coder", NOW)] == [True, False]
    assert [wake.cleared for wake in ledger.past("tester", NOW)] == [False]


def test_the_end_of_a_wake_is_unwritten_until_the_bus_knows(ledger):
    """One that runs is not over, so there is nothing to write."""
    wake = _note(ledger)
    assert ledger.ends_unwritten() == []
    ledger.ended(wake, at=NOW, outcome="exited", said="")
    assert [(row.id, row.end_written) for row in ledger.ends_unwritten()] == [(wake, False)]
    ledger.end_written(wake)
    assert ledger.ends_unwritten() == []

    wakes = [_note(ledger) for _ in range(3)]
    for wake in wakes:
        ledger.ended(wake, at=NOW, outcome="exited", said="")
    assert [row.id for row in ledger.ends_unwritten(limit=2)] == wakes[:2]
    assert [row.id for row in ledger.ends_unwritten(wakes[0], limit=1)] == wakes[1:2]


def test_the_last_conversation_of_an_agent_is_remembered(ledger):
    """The latest one."""
    assert ledger.host_session("coder") == ""
    ledger.remember("coder", "s1")
    ledger.remember("coder", "s2")

    assert ledger.host_session("coder") == "s2"
    assert ledger.host_session("tester") == ""


@pytest.mark.parametrize("change", ["started", "ended", "led_to_read"])
def test_a_wake_that_was_never_noted_cannot_change(ledger, change):
    """Nothing is written, and the ledger goes on."""
    arguments = {
        "started": {"pid": 1, "born": ""},
        "ended": {"at": NOW, "outcome": "exited", "said": ""},
        "led_to_read": {"read": True},
    }
    with pytest.raises(LedgerBroken, match="has no wake 7"):
        getattr(ledger, change)(7, **arguments[change])

    assert _note(ledger) == 1


def test_file_and_folder_are_of_this_user_alone(ledger, path):
    """So are the two beside the file, and there is no other file."""
    _note(ledger)

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    files = list(path.parent.iterdir())
    assert {file.name for file in files} == {"ledger.db", "ledger.db-wal", "ledger.db-shm"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


@pytest.mark.parametrize(
    ("write", "synced"),
    [
        (_note, True),
        (lambda ledger: ledger.clear_failures("coder"), True),
        (lambda ledger: ledger.started(1, 4711, "mark"), False),
        (lambda ledger: ledger.ended(1, at=NOW, outcome="exited", said="exit code 0"), False),
        (lambda ledger: ledger.led_to_read(1, True), False),
        (lambda ledger: ledger.remember("coder", "s"), False),
    ],
)
def test_what_must_outlive_the_power_alone_waits_for_the_disk(ledger, write, synced):
    _note(ledger)
    write(ledger)

    assert ledger._file.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert ledger._file.execute("PRAGMA synchronous").fetchone() == (2 if synced else 1,)


def test_the_past_is_what_this_and_other_processes_have_written_since(ledger, path):
    first = _note(ledger)
    assert [past.ended_at for past in ledger.past("coder", NOW)] == [None]

    ledger.ended(first, at=NOW, outcome="exited", said="exit code 0")
    assert [past.ended_at for past in ledger.past("coder", NOW)] == [NOW]
    with _child("note('coder')", path):
        pass
    assert len(ledger.past("coder", datetime.now(UTC))) == 2


def test_the_past_begins_a_day_before_whatever_the_clock_says(ledger):
    _note(ledger, at=NOW - timedelta(hours=30))
    _note(ledger, at=NOW - timedelta(hours=20))

    assert len(ledger.past("coder", NOW)) == 1
    assert len(ledger.past("coder", NOW - timedelta(hours=8))) == 2
    assert len(ledger.past("coder", NOW + timedelta(hours=8))) == 0


@pytest.mark.promise(41)
@pytest.mark.parametrize("mode", [0o644, 0o660, 0o604])
def test_a_file_that_others_may_open_is_refused(ledger, path, mode):
    """They could have written it."""
    _note(ledger)
    ledger.close()
    path.chmod(mode)
    with pytest.raises(LedgerBroken, match="open to other users"):
        _note(ledger)

    path.chmod(0o600)
    assert _note(ledger) == 2


@pytest.mark.promise(41)
def test_a_symlink_is_refused(ledger, path, tmp_path):
    """Nothing is created behind it."""
    path.parent.mkdir()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LedgerBroken, match="is a symlink"):
        _note(ledger)

    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_in_place_of_the_file_is_named(ledger, path):
    path.mkdir(mode=0o700, parents=True)
    with pytest.raises(LedgerBroken, match=r"ledger\.db cannot be used: it is a folder and no f"):
        _note(ledger)


@pytest.mark.parametrize("start", [b"no database, but text. " * 100, b"SQLite format 3\0" * 200])
def test_a_file_that_is_no_database_is_named(ledger, path, start):
    """It is left as it is."""
    path.parent.mkdir()
    path.touch(0o600)
    path.write_bytes(start)
    for call in (lambda: _note(ledger), ledger.unended, lambda: ledger.past("coder", NOW)):
        with pytest.raises(LedgerBroken, match=r"cannot be used: .*(database|schema)") as caught:
            call()
        assert "\n" not in str(caught.value)

    assert path.read_bytes() == start


def test_a_damaged_table_is_found(ledger, path):
    """At the next opening at the latest."""
    for _ in range(100):
        _note(ledger)
    ledger.close()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))

    with pytest.raises(LedgerBroken, match="cannot be used"):
        ledger.past("coder", NOW)


@pytest.mark.parametrize("value", ["{", "[1, {}]", "7"])
def test_a_row_that_no_agentbus_wrote_is_named(ledger, value):
    """It is no crash."""
    wake = _note(ledger)
    ledger._file.execute("UPDATE wakes SET keys = ? WHERE id = ?", (value, wake))

    with pytest.raises(LedgerBroken, match="cannot be used"):
        ledger.past("coder", NOW)


def test_the_file_of_a_newer_version_is_left_alone(ledger, path):
    """With what to do."""
    _note(ledger)
    ledger._file.execute(f"PRAGMA user_version = {module.SCHEMA + 1}")
    ledger.close()

    with pytest.raises(LedgerBroken, match=r"newer agentbus\. Upgrade agentbus\.$"):
        _note(ledger)


def test_a_lock_is_waited_for_only_so_long(ledger, path, monkeypatch):
    """Then the ledger counts as broken, and works again afterwards."""
    monkeypatch.setattr(module, "_BUSY_S", 0.05)
    _note(ledger)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(LedgerBroken, match="database is locked"):
        _note(ledger)
    other.execute("ROLLBACK")
    other.close()

    assert _note(ledger) == 2


def test_what_was_noted_outlives_a_kill(ledger, path):
    """The child is killed right after `note` has returned."""
    child = _child("print(note('coder'), flush=True)\ntime.sleep(60)", path)
    with child:
        wake = int(child.stdout.readline())
        child.kill()
    (row,) = ledger.unended()

    assert child.returncode == -signal.SIGKILL
    assert (row.id, row.agent, row.pid) == (wake, "coder", None)


@pytest.mark.skipif(os.name != "posix", reason="needs setrlimit")
def test_a_full_disk_breaks_a_note_and_nothing_else(ledger, path):
    """What was noted before stays, and a note that failed is not there in part."""
    code = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
note("before")
size = Path(sys.argv[1]).stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
try:
    ledger.note("coder", "start", keys=["x" * 100_000], senders=[], at=datetime.now(UTC))
except LedgerBroken as error:
    print(error)
"""
    with _child(code, path) as child:
        said = child.stdout.read()

    assert child.returncode == 0
    assert said.startswith(f"The ledger {path} cannot be used: ")
    assert said.count("\n") == 1
    assert [row.agent for row in ledger.unended()] == ["before"]


def test_two_processes_write_at_once(ledger, path):
    """Nothing is lost, and each wake has its own number, from the first opening on."""
    code = "print(*[note('coder') for _ in range(30)])"
    children = [_child(code, path) for _ in range(2)]
    numbers = []
    for child in children:
        with child:
            numbers += child.stdout.read().split()

    assert sorted(map(int, numbers)) == list(range(1, 61))
    assert len(ledger.unended()) == 60


def test_any_thread_may_write(ledger):
    """A disk that is slow must not stop an event loop."""
    threads = [threading.Thread(target=_note, args=(ledger,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(ledger.unended()) == 8
