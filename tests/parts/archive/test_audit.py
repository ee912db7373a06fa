# SPDX-License-Identifier: Apache-2.0
"""Steps of tasks in the order of time, of an archive that is years old."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import busy
import pytest

from mcp_agentbus.archive import audit
from mcp_agentbus.archive.audit import Span, hidden, pages, steps
from mcp_agentbus.archive.entries import Change
from mcp_agentbus.archive.file import Archive, Reached
from mcp_agentbus.archive.kept.sides import Sides
from mcp_agentbus.config.settings import Keeps
from mcp_agentbus.store.task import Moment

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
MINE = Sides(("planner",), ("planner",))


def change(number, owner="planner"):
    """Return what became known of a task, two steps, later ones of earlier times."""
    at = NOON - timedelta(minutes=number)
    moments = [Moment(state=each, at=at, by=owner) for each in ("stored", "claimed")]
    values = {"subject": f"Task {number}", "created_at": at}
    return Change(owner, "coder", f"t{number}", at, number, "sent_seq", values, tuple(moments))


@pytest.fixture
def archive(monkeypatch):
    monkeypatch.setattr(audit, "_PAGE", 3)
    with Archive(None, Keeps()) as archive:
        yield archive


def note(archive, numbers, owner="planner"):
    changes = [change(number, owner) for number in numbers]
    archive.note(changes, Reached("agentbus.*.*.*.*", 1, 2), of="made")


async def test_steps_are_read_while_all_of_the_loops_own_threads_are_at_work(archive):
    """Of those there are few, and a process that ends waits for each: a search may take long."""
    note(archive, range(2))
    with busy.own_threads():
        [page] = [page async for page in pages(archive, Sides(), Span(until=2))]

    assert len(page) == 2


@pytest.mark.parametrize("sides", [Sides(), MINE])
@pytest.mark.parametrize(
    "span", [Span(), Span(after=5), Span(2, 9), Span(since=NOON - timedelta(minutes=4)), Span(1, 1)]
)
async def test_page_by_page_comes_what_comes_at_once_and_in_the_order_of_time(archive, sides, span):
    note(archive, range(8))
    note(archive, range(8, 11), "tester")
    at_once = list(steps(archive, sides, span))
    by_page = [page async for page in pages(archive, sides, span)]

    assert [step for page in by_page for step in page] == at_once
    assert all(len(page) <= 3 for page in by_page)
    assert all(one.place < other.place for one, other in pairwise(at_once))
    assert {step.task.owner for step in at_once} <= {"planner", "" if sides is MINE else "tester"}


@pytest.mark.parametrize("short", [0, 10_000], ids=["by time", "by number"])
async def test_short_and_long_spans_have_the_same_steps(archive, monkeypatch, short):
    monkeypatch.setattr(audit, "_FEW", short)
    note(archive, range(8))

    assert sorted(step.n for step in steps(archive, MINE, Span(3, 12))) == [*range(4, 13)]


def test_of_one_task_only_its_own_steps_come_and_of_all_none_that_is_a_copy(archive):
    """A result that its sender had sent to another agent as well is told of where it is named."""
    note(archive, range(4))
    copy = replace(change(3, "tester"), values={"subject": "Copy", "asked_by": "planner"})
    archive.note([copy], Reached("agentbus.*.*.*.*", 1, 2), of="made")
    everything = {step.task.subject for step in steps(archive, Sides(), Span())}
    [(number,)] = archive.rows("SELECT n FROM tasks WHERE subject = 'Copy'")
    named = [step.task.subject for step in steps(archive, Sides(), Span(task=number))]

    assert (everything, named) == ({f"Task {each}" for each in range(4)}, ["Copy", "Copy"])


@pytest.mark.parametrize("limit", [1, 5, 15, 16, 99])
def test_what_is_hidden_is_all_but_the_last(archive, limit):
    note(archive, range(8))
    everything = list(steps(archive, MINE, Span()))
    count, shown = hidden(archive, MINE, Span(), limit)

    assert count == max(0, 16 - limit)
    assert list(steps(archive, MINE, shown)) == everything[count:]


async def test_whoever_else_is_at_work_goes_on_while_a_page_is_read(archive, monkeypatch):
    note(archive, range(2))
    rows, threads = archive.rows, []

    def read(*asked):
        threads.append(threading.get_ident())
        return rows(*asked)

    monkeypatch.setattr(archive, "rows", read)
    assert len([page async for page in pages(archive, MINE, Span())]) == 2
    assert threading.get_ident() not in threads


@pytest.mark.parametrize(
    "span", [Span(), Span(after=3), Span(until=9_999), Span(since=NOON - timedelta(days=9))]
)
def test_twice_as_many_steps_take_twice_as_long(archive, monkeypatch, span):
    """Each page once looked through all of them."""
    monkeypatch.setattr(audit, "_FEW", 100)
    note(archive, range(300))
    first = ticks(archive, span)
    note(archive, range(300, 600))

    assert ticks(archive, span) < 2.5 * first


def test_the_latest_steps_take_as_long_however_many_are_known(archive, monkeypatch):
    monkeypatch.setattr(audit, "_FEW", 20)
    note(archive, range(300))
    first = ticks(archive, Span(580, 600))
    note(archive, range(300, 600))

    assert ticks(archive, Span(1180, 1200)) < 1.5 * first


def ticks(archive, span):
    """Return how long it takes to read a span, by the steps of SQLite's own machine."""
    passed = []
    archive._file.set_progress_handler(lambda: passed.append(1), 10)
    assert list(steps(archive, MINE, span))
    archive._file.set_progress_handler(None, 0)
    return len(passed)
