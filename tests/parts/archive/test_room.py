# SPDX-License-Identifier: Apache-2.0
"""What goes from an archive that is too large or too old, in how small steps, and what its file has."""

import random
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mcp_agentbus.archive.entries import Change
from mcp_agentbus.archive.file import Archive, Reached
from mcp_agentbus.archive.kept import trim as module
from mcp_agentbus.archive.kept.trim import size_of, trim
from mcp_agentbus.config.settings import Keeps
from mcp_agentbus.store.task import Moment

NOW = datetime.now(UTC)
LIMIT, SECOND = 1 << 20, timedelta(seconds=1)
some = random.Random(7)
#: A text of words as others have them, and one of which each word occurs once, such as base64.
COMMON = " ".join(f"w{some.randrange(500)}" for _ in range(600))
TEXTS = {"common words": lambda: COMMON, "unique words": lambda: some.randbytes(1_500).hex(" ", 6)}


def sent(number, body, at=NOW):
    values = {"subject": f"Task {number}", "created_at": at, "updated_at": at, "request": body}
    values["expires_at"] = at + timedelta(days=1)
    steps = (Moment(state="stored", at=at, by="planner"),)
    return Change("planner", "coder", f"t{number:05d}", at, number, "sent_seq", values, steps)


def fill(archive, numbers, text):
    changes = [sent(each, text(), NOW - timedelta(hours=1) + each * SECOND) for each in numbers]
    archive.note(changes, Reached("agentbus.*.*.*.*", 1, 2), of="made")


def left(archive):
    return [int(row["id"][1:]) for row in archive.rows("SELECT id FROM tasks ORDER BY id")]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "archive.db"


@pytest.mark.parametrize("kind", TEXTS)
def test_of_one_that_is_too_large_only_as_much_goes_as_is_over_whatever_its_words(path, kind):
    """Of unique words an index keeps as much of what is removed as of what is there: all went."""
    with Archive(path, Keeps(max_mb=1)) as archive:
        count = 0
        for _ in range(3):
            while size_of(archive) <= LIMIT:
                fill(archive, range(count, count + 20), TEXTS[kind])
                count += 20
            trim(archive)

            assert LIMIT * 0.7 < size_of(archive) <= LIMIT * 0.9
            assert left(archive) == [*range(count - len(left(archive)), count)]
        assert archive.rows("SELECT count(*) FROM words WHERE words MATCH 'task'")[0][0] == len(
            left(archive)
        )


def test_of_one_that_is_full_of_long_notes_no_more_goes_than_of_another(path):
    with Archive(path, Keeps(max_mb=1)) as archive:
        changes = []
        for each in range(40):
            change = sent(each, "x", NOW - timedelta(hours=1) + each * SECOND)
            asked = Moment(state="needs_input", at=NOW, by="coder", note="?" * (60 << 10))
            changes.append(replace(change, steps=(*change.steps, asked)))
        archive.note(changes, Reached("agentbus.*.*.*.*", 1, 2), of="made")
        trim(archive)

        assert LIMIT * 0.7 < size_of(archive) <= LIMIT * 0.9


def test_one_that_is_full_of_what_is_removed_already_loses_nothing(path):
    """As one that was ended in the middle of this."""
    with Archive(path, Keeps(max_mb=1)) as archive:
        fill(archive, range(160), TEXTS["unique words"])
        archive._file.execute("DELETE FROM tasks WHERE n > 60")
        whole = size_of(archive)
        trim(archive)

        assert whole > LIMIT
        assert left(archive) == [*range(60)]


@pytest.mark.parametrize("keeps", [Keeps(max_mb=1), Keeps(days=1)], ids=["too large", "too old"])
def test_the_file_becomes_smaller_with_what_is_in_it_and_keeps_nobody_waiting(
    path, keeps, monkeypatch
):
    monkeypatch.setattr(module, "_AT_ONCE", 100 << 10)
    monkeypatch.setattr(module, "_PAGES_AT_ONCE", 16)
    with Archive(path, keeps) as archive:
        long_ago = NOW - timedelta(days=2)
        changes = [sent(each, TEXTS["unique words"](), long_ago) for each in range(200)]
        archive.note(changes, Reached("agentbus.*.*.*.*", 1, 2), of="made")
        archive._file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        before, transactions = path.stat().st_size, []
        archive._file.set_trace_callback(transactions.append)
        trim(archive, NOW)
        archive._file.set_trace_callback(None)
        archive._file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

        assert path.stat().st_size <= LIMIT < before
        assert archive.rows("PRAGMA freelist_count")[0][0] == 0
    at_once = "\n".join(transactions).split("COMMIT")
    removed = [set(re.findall("DELETE FROM tasks WHERE n = .*", done)) for done in at_once]
    assert 0 < max(map(len, removed)) <= 20
