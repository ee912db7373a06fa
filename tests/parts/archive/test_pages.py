# SPDX-License-Identifier: Apache-2.0
"""Tasks of before page by page, also where nothing is archived and where more lies in the outbox."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from types import SimpleNamespace

import pytest
from planners_task import TASK

from mcp_agentbus.archive.catch_up import Extent
from mcp_agentbus.archive.entries import Change
from mcp_agentbus.archive.file import Archive, Reached
from mcp_agentbus.archive.history import Current, Wanted, look, outgoing_of
from mcp_agentbus.archive.kept.place import cursor_of, only_here
from mcp_agentbus.archive.kept.sides import Sides
from mcp_agentbus.config.settings import Keeps
from mcp_agentbus.errors import BadInput
from mcp_agentbus.tools.answers.past import history_text

NOON, DAY = datetime(2026, 11, 28, 12, tzinfo=UTC), timedelta(days=1)


def sent(number, **values):
    at = NOON + timedelta(milliseconds=number // 3)  # of each moment there are three
    return Change(
        "planner", "coder", f"t{number:03d}", at, number + 1, "sent_seq",
        {"subject": f"Task {number}", "created_at": at, "expires_at": NOON + 3650 * DAY, **values},
    )  # fmt: skip


def noted(archive, changes):
    archive.note(changes, Reached("agentbus.*.*.*.*", 1, 2), of="made")
    return Current(archive, Extent())


@pytest.fixture
def archive():
    with Archive(None, Keeps()) as archive:
        yield archive


def outbox(count):
    """An outbox as its reader sees it, in which so many tasks lie, the oldest first."""
    tasks = [
        TASK.model_copy(update={"id": f"h{number:03d}", "created_at": NOON + number * DAY / 9_999})
        for number in range(count)
    ]
    return SimpleNamespace(seen=[SimpleNamespace(task=each, is_over=False) for each in tasks])


def page(current, limit, cursor=None, lying=None, **wanted):
    asked = Wanted(limit=limit, cursor=cursor, **wanted)
    here = outgoing_of(lying, asked, Sides())
    return look(current, asked, Sides(), None).behind(here, limit)


def test_each_page_goes_on_behind_the_one_before_in_an_archive_that_each_call_makes_anew():
    """The number of a row was that of another task: of 11 tasks one page had most of the other."""
    cursor, seen, total = None, [], 11
    while not seen or cursor:
        with Archive(None, Keeps()) as anew:
            # What was stored since has numbers before those of the others.
            changes = [sent(number) for number in range(total)]
            found = page(noted(anew, [*changes[11:], *changes[:11]]), 4, cursor)
        seen += [past.task_id for past in found.tasks]
        cursor, total = found.next_cursor, total + 5

    assert seen == [f"t{number:03d}" for number in reversed(range(11))]


def test_behind_a_task_that_is_gone_come_the_older_ones(archive):
    current = noted(archive, map(sent, range(9)))
    cursor = page(current, 4).next_cursor
    archive._file.execute("DELETE FROM tasks WHERE id = 't005'")

    assert [past.task_id for past in page(current, 9, cursor).tasks] == ["t002", "t001", "t000"]


@pytest.mark.parametrize(
    "cursor",
    ["past-7", "past-x-00000000", f"past-{'9' * 15}-00000000", "past-1-0000000g", "peek-1-2", "",
     "past-\u0661-00000000", "past-1-00000000\n"],
)  # fmt: skip
def test_another_cursor_is_refused_and_it_is_said_how_to_go_on(archive, cursor):
    with pytest.raises(BadInput, match="or none to begin with the latest"):
        page(noted(archive, []), 4, cursor)


def test_of_any_time_there_is_a_cursor(archive):
    at = {"created_at": datetime.min.replace(tzinfo=UTC)}
    current = noted(archive, [sent(1), sent(2, **at), sent(3, **at)])
    first = page(current, 2)

    assert [past.task_id for past in first.tasks] == ["t001", "t003"]
    assert [past.task_id for past in page(current, 2, first.next_cursor).tasks] == ["t002"]


@pytest.mark.parametrize("limit", [1, 3, 5, 7, 20])
@pytest.mark.parametrize(("lying", "kept"), [(5, 4), (5, 0), (0, 4), (120, 3)])
def test_what_lies_in_the_outbox_comes_first_and_of_all_as_many_as_are_wanted(
    archive, limit, lying, kept
):
    """It was cut at 100 without a word, and of what is archived came as many again."""
    current, cursor, pages = noted(archive, map(sent, range(kept))), None, []
    while not pages or cursor:
        found = page(current, limit, cursor, outbox(lying))
        pages.append([past.task_id for past in found.tasks])
        cursor = found.next_cursor

    there = [f"h{number:03d}" for number in reversed(range(lying))]
    assert [*chain(*pages)] == [*there, *(f"t{number:03d}" for number in reversed(range(kept)))]
    assert {len(each) for each in pages[:-1]} <= {limit}


def test_behind_one_that_was_handed_on_meanwhile_come_the_older_ones(archive):
    current, lying = noted(archive, [sent(1)]), outbox(5)
    cursor = page(current, 2, None, lying).next_cursor
    del lying.seen[3]

    found = [past.task_id for past in page(current, 9, cursor, lying).tasks]
    assert found == ["h002", "h001", "h000", "t001"]


def test_what_lies_in_the_outbox_and_is_at_the_bus_as_well_is_listed_once(archive):
    noted(archive, [sent(1)])
    lying = outbox(2)
    lying.seen[0].task = TASK.model_copy(update={"id": "t001", "created_at": NOON})

    here = only_here(archive, outgoing_of(lying, Wanted(), Sides()))
    assert [each.task_id for each in here] == ["h001"]


def test_an_answer_that_has_no_room_for_all_says_how_to_read_on_from_its_last(archive):
    current, lying = noted(archive, map(sent, range(3))), outbox(99)
    whole = page(current, 100, None, lying)
    names = {"owner": "p" * 63, "inbox": "c" * 63, "subject": "x" * 120, "summary": "y" * 160}
    wide = replace(whole, tasks=tuple(replace(each, **names) for each in whole.tasks))
    answer = history_text(wide, "of planner")
    shown = answer.count("p to c")

    assert 0 < shown < 99
    assert repr(cursor_of(wide.tasks[shown - 1])) in answer
