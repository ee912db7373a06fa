# SPDX-License-Identifier: Apache-2.0
"""The archive's file: whose it is, how large it may become, and what is newer."""

import errno
import os
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import served

from mcp_agentbus.archive import file as file_module
from mcp_agentbus.archive.entries import Change
from mcp_agentbus.archive.file import Archive, Reached
from mcp_agentbus.archive.kept.tables import SCHEMA
from mcp_agentbus.archive.kept.trim import size_of, trim
from mcp_agentbus.config.settings import Keeps
from mcp_agentbus.errors import ArchiveBroken
from mcp_agentbus.store.task import Moment

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
ALL = "agentbus.*.*.*.*"


def sent(number, at=NOW, body="x", seq=1):
    values = {"subject": f"Task {number}", "created_at": at, "request": body}
    steps = (Moment(state="stored", at=at, by="planner"),)
    return Change("planner", "coder", f"t{number:05d}", at, seq, "sent_seq", values, steps)


def record(number, state, seq, at=NOW):
    values = {"state": state, "updated_at": at}
    return Change("planner", "coder", f"t{number:05d}", at, seq, "record_seq", values)


def ids(archive):
    return [row["id"] for row in archive.rows("SELECT id FROM tasks ORDER BY id")]


#: Another process that writes one cursor, and says which there are.
OTHER = """
import sys
from pathlib import Path
from mcp_agentbus.archive.file import Archive
from mcp_agentbus.config.settings import Keeps
with Archive(Path(sys.argv[1]), Keeps()) as archive:
    archive.note_cursor(sys.argv[2], 1)
    print(*(row["name"] for row in archive.rows("SELECT name FROM cursors WHERE name != '' ORDER BY name")))
"""


def by_another(path, cursor):
    words = [sys.executable, "-c", OTHER, path, cursor]
    environ = {**os.environ, "PYTHONPATH": served.PACKAGE}
    return subprocess.run(words, env=environ, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def archive(tmp_path):
    with Archive(tmp_path / "archive.db", Keeps()) as archive:
        yield archive


#: It takes a second or two, in which nothing else is done with the archive.
LONG = """
WITH RECURSIVE counted (n) AS
    (SELECT begun() UNION ALL SELECT n + 1 FROM counted WHERE n < 10000000)
SELECT max(n) FROM counted
"""


def test_one_that_is_closed_waits_for_no_search_that_nobody_awaits(tmp_path):
    """As of a command that was cancelled: a listener that closes it has more to do."""
    begun, outcome = threading.Event(), []

    def search():
        try:
            outcome.append(archive.rows(LONG))
        except ArchiveBroken as error:
            outcome.append(str(error))

    with Archive(tmp_path / "archive.db", Keeps()) as archive:
        archive._file.create_function("begun", 0, lambda: begun.set() or 1)
        searching = threading.Thread(target=search)
        searching.start()
        assert begun.wait(30)
    searching.join()

    assert "interrupted" in outcome[0]


def note(archive, *changes, of="made"):
    archive.note(changes, Reached(ALL, 1, 2), of=of)


def test_it_is_its_users_alone(tmp_path):
    umask = os.umask(0)
    try:
        with Archive(tmp_path / "state" / "archive.db", Keeps()) as archive:
            note(archive, sent(1))
            modes = {
                file.name: file.stat().st_mode & 0o777 for file in archive.path.parent.iterdir()
            }
    finally:
        os.umask(umask)

    assert set(modes.values()) == {0o600}
    assert "archive.db-wal" in modes


def test_one_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "archive.db"
    path.touch()
    path.chmod(0o644)

    with pytest.raises(ArchiveBroken, match="chmod 600"), Archive(path, Keeps()):
        pass


@pytest.mark.parametrize(
    ("code", "hint"), [(errno.EROFS, "mounted read-only"), (errno.ENOSPC, "Free some disk space")]
)
def test_what_the_system_refuses_is_told_with_what_mends_it(tmp_path, monkeypatch, code, hint):
    def refused(_):
        raise OSError(code, "no")

    monkeypatch.setattr(file_module, "make_private_file", refused)
    with pytest.raises(ArchiveBroken) as broken, Archive(tmp_path / "archive.db", Keeps()):
        pass
    assert hint in broken.value.hint


def test_one_of_a_newer_version_is_left_alone(tmp_path):
    path = tmp_path / "archive.db"
    with Archive(path, Keeps()) as archive:
        note(archive, sent(1))
    with sqlite3.connect(path) as file:
        file.execute(f"PRAGMA user_version = {SCHEMA + 1}")

    with pytest.raises(ArchiveBroken, match="newer agentbus"), Archive(path, Keeps()):
        pass


def test_one_of_before_that_may_have_holes_is_read_anew_once_and_keeps_its_tasks(tmp_path):
    path = tmp_path / "archive.db"
    with Archive(path, Keeps()) as archive:
        note(archive, sent(1))
        archive._file.execute("PRAGMA user_version = 1")

    with Archive(path, Keeps()) as archive:
        assert (ids(archive), archive.reached("made", ALL)) == (["t00001"], None)
        note(archive, sent(2))
    with Archive(path, Keeps()) as archive:
        assert archive.reached("made", ALL) == Reached(ALL, 1, 2)


def locked(archive, monkeypatch):
    monkeypatch.setattr(file_module, "_BUSY_S", 0.01)
    with (
        sqlite3.connect(archive.path, isolation_level=None) as other,
        Archive(archive.path, Keeps()) as late,
    ):
        other.execute("BEGIN IMMEDIATE")
        try:
            note(late, sent(1))
        finally:
            other.execute("ROLLBACK")


def on_a_full_disk(archive, _):
    archive._file.execute("PRAGMA max_page_count = 1")
    note(archive, sent(1, body="x" * 100_000))


def read_only(archive, _):
    archive._file.execute("PRAGMA query_only = 1")
    note(archive, sent(1))


def damaged(archive, _):
    path = archive.path.with_name("damaged.db")
    path.touch(0o600)
    path.write_bytes(b"no database at all" * 100)
    with Archive(path, Keeps()):
        pass


def without_a_folder(archive, _):
    beside = archive.path.with_name("file")
    beside.touch()
    with Archive(beside / "archive.db", Keeps()):
        pass


@pytest.mark.parametrize(
    ("use", "hint"),
    [
        (locked, "Call again: another process was writing to it."),
        (on_a_full_disk, "Free some disk space"),
        (read_only, "See that your user can write there"),
        (without_a_folder, "See that your user can write there"),
        (damaged, "Move that file away"),
        (lambda archive, _: archive.rows("SELECT nothing"), "Call again. If it stays so"),
    ],
)  # fmt: skip
def test_only_of_one_that_is_damaged_it_is_said_to_move_it_away(archive, monkeypatch, use, hint):
    """Whoever did as they were told of one that was busy lost what the bus no longer has."""
    with pytest.raises(ArchiveBroken) as broken:
        use(archive, monkeypatch)

    assert broken.value.hint.startswith(hint)


@pytest.mark.parametrize("order", [(1, 2), (2, 1), (1, 2, 1)])
def test_what_is_newer_stands_whenever_it_was_read(archive, order):
    changes = {1: record(7, "working", 11), 2: record(7, "completed", 12)}
    note(archive, sent(7))
    for which in order:
        note(archive, changes[which])

    assert archive.rows("SELECT state FROM tasks")[0]["state"] == "completed"


def test_a_stream_that_was_made_anew_counts_from_one_again(archive):
    note(archive, sent(7, seq=5_000), record(7, "working", 5_001))
    note(archive, record(7, "completed", 3), of="made anew")
    note(archive, sent(7, seq=4), of="made anew")

    assert archive.rows("SELECT state, sent_seq FROM tasks")[0][:] == ("completed", 4)


def test_a_stream_that_knows_less_of_a_task_takes_back_what_its_worker_had_done(archive):
    """As one that is restored from a backup: a task that waits again was told of as completed."""
    done = {"summary": "Done", "result": "All of it", "agent": "coder", "progress": 1.0}
    of_old = replace(record(7, "completed", 5_001), values={"state": "completed", **done})
    note(archive, sent(7, seq=5_000), of_old)
    note(archive, sent(7, seq=4), of="made anew")

    [row] = archive.rows("SELECT * FROM tasks")
    assert [row[name] for name in ("state", *done)] == ["stored", "", "", "", None]
    assert (row["sent_seq"], row["record_seq"], row["request"]) == (4, 0, "x")
    note(archive, record(7, "claimed", 1), of="made anew")
    assert archive.rows("SELECT state FROM tasks")[0]["state"] == "claimed"


def test_what_was_known_first_is_not_made_shorter(archive):
    note(archive, sent(7, body="the beginning"))
    archive.note_request("planner", "coder", "t00007", "the beginning and all the rest")
    note(archive, sent(7, body="the beginning", seq=2))

    assert archive.rows("SELECT request FROM tasks")[0]["request"].endswith("the rest")


def test_a_step_that_was_written_while_its_note_was_cut_gets_the_rest_and_keeps_it(archive):
    for note_of_it in ("the beg", "the beginning and all the rest", "the beg"):
        step = Moment(state="needs_input", at=NOW, by="coder", note=note_of_it)
        note(archive, replace(record(7, "needs_input", 2), steps=(step,)))

    [row] = archive.rows("SELECT note FROM steps")
    assert row["note"].endswith("the rest")


def test_what_is_old_goes_with_its_steps_and_words(tmp_path):
    now = datetime.now(UTC)
    with Archive(tmp_path / "archive.db", Keeps(days=30)) as archive:
        note(archive, sent(1, now - timedelta(days=31)), sent(2, now - timedelta(days=29)))
        trim(archive, now)

        assert ids(archive) == ["t00002"]
        assert archive.rows("SELECT count(*) AS n FROM steps")[0]["n"] == 1
        assert len(archive.rows("SELECT rowid FROM words WHERE words MATCH 'task'")) == 1


def test_where_it_is_too_large_what_nobody_asked_for_goes_first_then_the_oldest(tmp_path):
    now = datetime.now(UTC)
    body = "".join(f"w{number} " for number in range(1_000))
    with Archive(tmp_path / "archive.db", Keeps(max_mb=5)) as archive:
        note(archive, *(record(number, "completed", 1, now) for number in range(600, 700)))
        for number in range(600):
            at = now - timedelta(seconds=600 - number)
            note(archive, sent(number, at, f"{number} {body}"))
        trim(archive)

        left = ids(archive)
        assert size_of(archive) <= 5 << 20
        assert left == [f"t{number:05d}" for number in range(600 - len(left), 600)]
        assert left


def test_without_texts_only_subjects_are_kept(tmp_path):
    with Archive(tmp_path / "archive.db", Keeps(texts=False)) as archive:
        note(archive, sent(1, body="private"))
        archive.note_request("planner", "coder", "t00001", "private, all of it")

        [row] = archive.rows("SELECT subject, request FROM tasks")
        assert row[:] == ("Task 1", "")


def test_two_write_at_once(tmp_path):
    path = tmp_path / "archive.db"
    with Archive(path, Keeps()) as one, Archive(path, Keeps()) as other:
        one.note([sent(1)], Reached(ALL, 10, 20), of="made")
        other.note([sent(2)], Reached(ALL, 5, 15), of="made")

        assert ids(one) == ids(other) == ["t00001", "t00002"]
        assert one.reached("made", ALL) == Reached(ALL, 5, 20)


def test_it_is_not_closed_under_whoever_still_writes(tmp_path):
    writing, closed = threading.Event(), threading.Event()

    def changes():
        yield sent(1)
        writing.set()
        closed.wait(0.2)  # it must not be closed meanwhile
        yield sent(2)

    path = tmp_path / "archive.db"
    with Archive(path, Keeps()) as archive:
        given = (changes(), Reached(ALL, 1, 2))
        thread = threading.Thread(target=archive.note, args=given, kwargs={"of": "made"})
        thread.start()
        writing.wait()
    closed.set()
    thread.join()

    with Archive(path, Keeps()) as archive:
        assert ids(archive) == ["t00001", "t00002"]


def test_who_opens_it_once_more_in_its_process_takes_no_lock_from_it(archive):
    archive.note_cursor("first", 1)
    with Archive(archive.path, Keeps()):
        pass
    by_another(archive.path, "other")
    archive.note_cursor("second", 1)

    assert by_another(archive.path, "third") == "first other second third\n"
