# SPDX-License-Identifier: Apache-2.0
"""What a person was told outlives the listener, so that each thing is told once."""

from datetime import UTC, datetime, timedelta

import pytest

from mcp_agentbus.core.text import stamp
from mcp_agentbus.human.book import Bookmark, TapBook
from mcp_agentbus.human.needs import Need
from mcp_agentbus.store.task import Record

AT = datetime(2026, 11, 27, 10, tzinfo=UTC)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "taps.json"


def need(key="1", kind="needs_approval"):
    return Need(kind, "coder", "9d0c2f1e", key)


def test_a_thing_is_told_once_also_by_the_next_listener(file):
    book = TapBook(file)
    book.bookmark = Bookmark("made", 7, AT)
    assert book.add(need())
    assert not book.add(need())
    taken = book.take(AT)
    book.ended(taken, is_told=True, said="ring took it.")

    after = TapBook(file)
    assert not after.add(need())
    assert not after.waiting
    assert (after.bookmark, after.taps) == (book.bookmark, book.taps)
    assert file.stat().st_mode & 0o777 == 0o600


def test_what_a_listener_was_killed_over_is_not_told_again(file):
    book = TapBook(file)
    book.add(need())
    book.take(AT)

    after = TapBook(file)
    assert not after.waiting
    assert (after.taps[-1].is_told, after.taps[-1].said) == (False, "its listener ended meanwhile")


def test_what_could_not_be_told_waits_with_what_came_since(file):
    book = TapBook(file)
    book.add(need("1"))
    taken = book.take(AT)
    book.add(need("2", "failed"))
    book.ended(taken, is_told=False, said="ring is not there.")

    after = TapBook(file)
    assert (after.failures, after.waiting.count) == (1, 2)
    assert after.waiting.line == "1 approval is needed, 1 task failed: agentbus status"


def test_of_very_many_things_numbers_are_kept(file):
    book = TapBook(file)
    for number in range(300):
        book.add(need(str(number)))

    assert TapBook(file).waiting.line == "300 approvals are needed: agentbus status"
    assert file.stat().st_size < 20_000


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"bookmark": 1}', b"\xff", b"[" * 10**5])
def test_a_file_that_is_not_as_it_is_written_counts_as_none(file, content):
    file.write_bytes(content)
    file.chmod(0o600)
    book = TapBook(file)

    assert (book.bookmark, book.taps) == (None, [])
    assert book.add(need())


def test_who_wants_to_be_told_nothing_hears_later_of_nothing_that_came_meanwhile(file):
    book = TapBook(file)
    book.bookmark = Bookmark("made", 7, AT)
    book.add(need())
    book.forget()

    after = TapBook(file)
    assert (after.bookmark, after.waiting.count) == (None, 0)


def test_what_is_settled_meanwhile_is_told_to_nobody_nor_asked_again(file):
    book = TapBook(file)
    asked = Need("needs_input", "coder", "9d0c2f1e", f"needs_input coder t1 {stamp(AT)}")
    book.add(asked)
    book.add(need())

    gone_on = {"state": "working", "agent": "coder", "updated_at": AT + timedelta(minutes=1)}
    book.settle(Record(task_id="t1", owner="planner", inbox="coder", **gone_on))

    assert TapBook(file).waiting.needs == (need(),)
    assert not book.add(asked)


def test_a_wake_that_is_held_again_before_it_was_told_is_told(file):
    book = TapBook(file)
    held = Need("held", "coder", "9d0c2f1e", "held coder coder t1")
    book.add(held)

    claimed = {"state": "claimed", "agent": "coder", "updated_at": AT}
    book.settle(Record(task_id="t1", owner="planner", inbox="coder", **claimed))
    assert not book.waiting

    after = TapBook(file)
    assert after.add(held)
    after.ended(after.take(AT), is_told=True, said="ring took it.")
    assert not after.add(held)
