# SPDX-License-Identifier: Apache-2.0
"""When a task became what it is, by the clock of whoever wrote that, and the texts of its end."""

from datetime import timedelta
from itertools import permutations

import pytest
from places import outside_and_inside
from planners_task import HOUR, KEPT_AT, RECORD, SENT
from server_stand_in import NOON

from mcp_agentbus.archive.audit import Span, steps
from mcp_agentbus.archive.board import steps_of
from mcp_agentbus.archive.catch_up import Extent
from mcp_agentbus.archive.entries import change_in
from mcp_agentbus.archive.file import Archive, Reached, iso
from mcp_agentbus.archive.history import Current, Wanted, look
from mcp_agentbus.archive.kept.sides import Sides
from mcp_agentbus.bus.replies import Found
from mcp_agentbus.config.settings import Keeps
from mcp_agentbus.store import codec
from mcp_agentbus.store.steps import first_record, step
from mcp_agentbus.store.task import Moment, Wakes
from mcp_agentbus.tools.answers.past import step_markdown

MINUTE = timedelta(minutes=1)
AT_ONCE = Reached("agentbus.*.*.*.*", 1, 9)
WOKEN = Moment(state="woken", at=NOON, by="coder")
WAKES = Wakes(task_id=SENT.task_id, owner="planner", inbox="coder", moments=(WOKEN,))


def kept(sent=SENT, seq=9):
    """Return what the sender keeps, as it was stored anew behind all else, like by a rename."""
    return change_in(Found(KEPT_AT, seq, NOON, {}, codec.encode_sent(sent)))


def done(*ends, seq=7):
    """Return the record of a task that a worker, or one after the other, ended at these times."""
    record = first_record(SENT)
    for number, at in enumerate(ends, 1):
        record = step(record, "completed", "coder", "5e55", at, body=f"Result {number}")
    return change_in(Found(RECORD, seq, NOON, {}, codec.encode_record(record)))


def woken(seq=5):
    wakes = f"agentbus.planner.wakes.coder.{SENT.task_id}"
    return change_in(Found(wakes, seq, NOON, {}, codec.encode_wakes(WAKES)))


@pytest.fixture
def archive():
    with Archive(None, Keeps()) as archive:
        yield archive


def changed_at(archive):
    return archive.rows("SELECT updated_at FROM tasks")[0][0]


def version(archive):
    return archive.rows("PRAGMA user_version")[0][0]


def diary(archive):
    """Return what each completed step is told with, in the order of time."""
    trail = list(steps(archive, Sides(), Span()))
    assert list(steps_of(archive, trail[0].task)) == trail
    entries = [step_markdown(entry) for entry in trail if entry.state == "completed"]
    return [outside_and_inside(each)[1].rpartition("\n")[2].strip() for each in entries]


@pytest.mark.parametrize(
    ("ended", "changed"),
    [
        (NOON - 40 * MINUTE, NOON - 40 * MINUTE), (NOON - 2 * HOUR, NOON - 2 * HOUR),
        (NOON + MINUTE, NOON + MINUTE), (NOON + 2 * HOUR, NOON),
    ],
)  # fmt: skip
@pytest.mark.parametrize("order", [*permutations((kept, done, woken))])
def test_a_task_ended_when_its_worker_says_and_its_result_is_in_the_diary(
    archive, order, ended, changed
):
    """Whichever record was read first: by a clock that was behind it had ended without a result.

    And by one that is far ahead it had ended twice.
    """
    for record in order:
        change = done(ended) if record is done else record()
        archive.note([change], AT_ONCE, of="made")

    assert (changed_at(archive), diary(archive)) == (iso(changed), ["Result 1"])


@pytest.mark.parametrize("order", [(kept,), (woken, kept), (kept, woken)])
def test_what_nobody_has_touched_became_what_it_is_as_it_was_sent(archive, order):
    for record in order:
        archive.note([record()], AT_ONCE, of="made")

    assert changed_at(archive) == iso(SENT.created_at)


def test_what_a_restored_bus_has_nothing_done_of_waits_since_it_was_sent(archive):
    archive.note([kept(), done(NOON)], AT_ONCE, of="made")
    archive.note([kept(seq=1)], AT_ONCE, of="made anew")
    assert (changed_at(archive), diary(archive)) == (iso(SENT.created_at), [""])

    archive.note([done(NOON - MINUTE, seq=2)], AT_ONCE, of="made anew")
    assert (changed_at(archive), diary(archive)) == (iso(NOON - MINUTE), ["Result 1", ""])


@pytest.mark.parametrize("second", [NOON + MINUTE, NOON - MINUTE])
def test_of_two_ends_the_later_one_has_the_result_also_by_a_clock_that_is_behind(archive, second):
    archive.note([kept(), done(NOON, second)], AT_ONCE, of="made")

    told = ["", "Result 2"]
    assert diary(archive) == (told if second > NOON else told[::-1])


def test_what_was_sent_since_is_listed_also_where_its_workers_clock_is_behind(archive):
    archive.note([kept(), done(NOON - 2 * HOUR)], AT_ONCE, of="made")

    def listed(since):
        return look(Current(archive, Extent()), Wanted(since=since), Sides(), None).tasks

    assert len(listed(SENT.created_at)) == 1
    assert not listed(SENT.created_at + MINUTE)


@pytest.mark.parametrize(
    ("records", "right"),
    [([kept(), done(NOON - 2 * HOUR, NOON - MINUTE)], NOON - MINUTE), ([kept()], SENT.created_at)],
    ids=["done", "waiting"],
)
@pytest.mark.parametrize("wrong", ["2026-11-28T12:00:00.000+00:00", None])
def test_a_time_that_an_earlier_version_wrote_down_wrongly_is_mended_once(
    tmp_path, records, right, wrong
):
    """Also of a task that the bus has no longer: its steps say when it became what it is.

    A listener of that version that runs still can go on with the file.
    """
    path = tmp_path / "archive.db"
    with Archive(path, Keeps()) as archive:
        archive.note(records, AT_ONCE, of="made")
        archive._file.execute("UPDATE tasks SET updated_at = coalesce(?, updated_at)", (wrong,))
        archive._file.execute("PRAGMA user_version = 3")
        archive._file.execute("DELETE FROM cursors")

    with Archive(path, Keeps()) as archive:
        assert (changed_at(archive), version(archive)) == (iso(right), 3)
        assert archive.reached("made", AT_ONCE.wanted) == AT_ONCE
        archive._file.execute("UPDATE tasks SET updated_at = 'x'")
    with Archive(path, Keeps()) as archive:
        assert changed_at(archive) == "x"
