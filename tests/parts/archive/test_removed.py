# SPDX-License-Identifier: Apache-2.0
"""What goes from an archive, by whose clock, and what whoever looks for it is told."""

import sqlite3
from contextlib import closing, contextmanager
from datetime import timedelta

import pytest
from server_stand_in import NOON, Server

from mcp_agentbus.archive.catch_up import Extent, catch_up
from mcp_agentbus.archive.entries import Change
from mcp_agentbus.archive.file import Archive, Reached
from mcp_agentbus.archive.history import Current, Wanted, look
from mcp_agentbus.archive.kept import trim as module
from mcp_agentbus.archive.kept.removed import Removed, perhaps_removed
from mcp_agentbus.archive.kept.sides import Sides
from mcp_agentbus.archive.kept.trim import trim
from mcp_agentbus.config.settings import Keeps
from mcp_agentbus.core import text
from mcp_agentbus.errors import UnknownTask
from mcp_agentbus.store.task import Moment
from mcp_agentbus.tools.answers import past

MADE, DAY = "2026-11-01T00:00:00Z", timedelta(days=1)
TODAY = NOON + 100 * DAY


def sent(number, age, seq, state="stored", body="x", **more):
    at = TODAY - age
    values = {"subject": f"Task {number}", "created_at": at, "updated_at": at, "request": body}
    steps = (Moment(state="stored", at=at, by="planner"),)
    values |= {"state": state, **more}
    return Change("planner", "coder", f"t{number}", at, seq, "sent_seq", values, steps)


def left(archive):
    return [row["id"] for row in archive.rows("SELECT id FROM tasks ORDER BY id")]


@pytest.fixture
def archive(monkeypatch):
    monkeypatch.setattr(text, "now", lambda: TODAY)
    with Archive(None, Keeps(days=30)) as archive:
        archive.stream = MADE
        yield archive


class Bus(Server):
    """One that has no records any more, and says what time it is."""

    async def api(self, call, body=None):
        said = {"ts": self.there} if self.there else {}
        return {"created": MADE, "state": {"first_seq": 9, "last_seq": 8}, **said}

    async def stored(self, *_, **__):
        yield []


@pytest.mark.parametrize(
    ("here", "there", "kept"),
    [
        (TODAY + 100 * DAY, f"{TODAY:%Y-%m-%dT%H:%M:%SZ}", True),
        (TODAY, f"{TODAY + 100 * DAY:%Y-%m-%dT%H:%M:%SZ}", True),
        (TODAY + 100 * DAY, "", True),
        (TODAY + 100 * DAY, f"{TODAY + 100 * DAY:%Y-%m-%dT%H:%M:%SZ}", False),
    ],
    ids=["its own is ahead", "the server's is ahead", "the server's is not known", "neither is"],
)
async def test_a_clock_that_is_ahead_alone_removes_nothing(archive, monkeypatch, here, there, kept):
    archive.note([sent(1, DAY, 1, "completed")], Reached("agentbus.*.*.*.*", 1, 9), of=MADE)
    monkeypatch.setattr(text, "now", lambda: here)
    bus = Bus()
    bus.there = there
    extent = await catch_up(bus, archive, ["*"])

    assert (left(archive) == ["t1"]) is kept
    assert extent.removed == (() if kept else (Removed("days", TODAY - DAY),))


def test_what_is_not_over_and_what_the_bus_has_is_never_too_old(archive):
    old = 40 * DAY
    tasks = [
        sent(1, old, 1, "completed"), sent(2, old, 1, "working", expires_at=TODAY + DAY),
        sent(3, old, 7, "completed"), sent(4, old, 1, "stored", expires_at=TODAY - DAY),
        sent(5, 20 * DAY, 1, "completed"),
        sent(6, 20 * DAY, 1, "completed", updated_at=TODAY - old),  # by a clock that was behind
    ]  # fmt: skip
    archive.note(tasks, Reached("agentbus.*.*.*.*", 1, 9), of=MADE)
    trim(archive, TODAY, 7)

    assert left(archive) == ["t2", "t3", "t5", "t6"]


def test_where_there_is_no_room_what_is_over_and_off_the_bus_goes_first(archive, monkeypatch):
    """What was removed while it stood on the bus was never read from there again, and missed."""
    tasks = [
        sent(1, 3 * DAY, 1, "working", expires_at=TODAY + DAY), sent(2, 2 * DAY, 8, "completed"),
        sent(3, DAY, 1, "completed"),
    ]  # fmt: skip
    archive.note(tasks, Reached("agentbus.*.*.*.*", 1, 9), of=MADE)
    told = []
    for _ in tasks:
        archive.is_grown, limit = True, 256 << 20
        sizes = iter([limit + 1, limit * module._FULL + 1])  # a byte too many, and then none
        monkeypatch.setattr(module, "size_of", lambda _, sizes=sizes: next(sizes, 0))
        trim(archive, TODAY, 7)
        told.append((left(archive), archive.removed()[0].unfinished))

    assert told == [(["t1", "t2"], False), (["t1"], False), ([], True)]


GONE = Extent(removed=(Removed("max_mb", TODAY - 2 * DAY),))


@pytest.mark.parametrize(
    ("wanted", "is_told"),
    [
        (Wanted(), True), (Wanted(since=TODAY - 3 * DAY), True),
        (Wanted(since=TODAY - DAY), False), (Wanted(view="open"), False),
        (Wanted(limit=1), False),
    ],
    ids=["all", "since before", "since then", "what is open", "there is more to come"],
)  # fmt: skip
def test_a_list_says_that_older_ones_were_removed(archive, wanted, is_told):
    """It was told as whole."""
    tasks = [sent(number, DAY, 1, "completed") for number in (1, 2)]
    archive.note(tasks, Reached("agentbus.*.*.*.*", 1, 9), of=MADE)
    page = look(Current(archive, GONE), wanted, Sides(), None)

    assert ("`[archive] max_mb` in config.toml" in past.history_text(page, "of all")) is is_told
    assert past.of_history(page)["removed"] == (
        {"max_mb": past.stamp(TODAY - 2 * DAY)} if is_told else {}
    )


def test_of_a_task_that_is_not_known_it_is_said_that_it_may_have_been_removed():
    unknown = perhaps_removed(UnknownTask("No task."), GONE.removed)

    assert "may be missing: `[archive] max_mb`" in unknown.hint
    assert str(perhaps_removed(UnknownTask("No task."), ())) == str(UnknownTask("No task."))


def test_another_that_writes_between_two_steps_of_a_trim_keeps_it_from_nothing(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(text, "now", lambda: TODAY)
    monkeypatch.setattr(module, "_AT_ONCE", 1)
    with Archive(tmp_path / "a.db", Keeps(days=30)) as archive:
        old = [sent(number, 40 * DAY, 1, "completed") for number in range(5)]
        archive.note(old, Reached("agentbus.*.*.*.*", 1, 9), of=MADE)
        transaction = archive.transaction

        @contextmanager
        def then_another_writes():
            with transaction() as file:
                yield file
            with closing(sqlite3.connect(tmp_path / "a.db")) as another, another:
                another.execute("UPDATE reached SET high = high + 1")

        monkeypatch.setattr(archive, "transaction", then_another_writes)
        trim(archive, TODAY, 7)

        assert left(archive) == []
