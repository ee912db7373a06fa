# SPDX-License-Identifier: Apache-2.0
"""By which words a task of before is looked for, whatever bytes whoever typed them had."""

import pytest

from mcp_agentbus.archive.board import named
from mcp_agentbus.archive.catch_up import Extent
from mcp_agentbus.archive.entries import Change
from mcp_agentbus.archive.file import Archive, Reached
from mcp_agentbus.archive.history import Current, Wanted, look
from mcp_agentbus.archive.kept.sides import Sides
from mcp_agentbus.config.settings import Keeps
from mcp_agentbus.core.text import now
from mcp_agentbus.errors import BadInput

#: As Python reads a byte of a shell that is no UTF-8, and what JSON may spell.
HALVES = ["\udcff", "flaky \ud800test"]


ID = "9d0c2f1a" + 24 * "0"


@pytest.fixture
def archive():
    with Archive(None, Keeps()) as archive:
        values = {
            "subject": "A flaky test", "created_at": now(), "request": "It \0fails: 测试失败了 im Bücherregal.",
            "artifacts": ("src/total_zeta.py", "https://ci/1?a=50%"),
        }  # fmt: skip
        change = Change("planner", "coder", ID, now(), 1, "sent_seq", values)
        archive.note([change], Reached("agentbus.*.*.*.*", 1, 2), of="made")
        yield archive


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("field", ["words", "other", "state", "thread_id", "cursor"])
def test_what_is_no_text_is_refused_and_not_looked_for(field, half):
    with pytest.raises(BadInput, match=f"The {field} has half a surrogate pair"):
        Wanted(**{field: half})


@pytest.mark.parametrize("half", HALVES)
def test_no_id_that_is_no_text_is_looked_for(archive, half):
    with pytest.raises(BadInput, match="The id has half a surrogate pair"):
        named(archive, half)


@pytest.mark.parametrize(
    ("words", "count"),
    [("flaky\0test", 1), ("it\0fails", 1), ("\0", 1), (" \0 flaky", 1), ("\0other", 0)],
)
def test_a_zero_byte_parts_words_and_ends_nothing(archive, words, count):
    """It was an unterminated string, and the archive was said to be broken."""
    found = look(Current(archive, Extent()), Wanted(words=words), Sides(), None)

    assert len(found.tasks) == count


@pytest.mark.parametrize(
    "words",
    [
        "flak", "FLAK tes", "Bücher", "bucher", "测试", "失败了", "flaky 失败", "total_zeta", "src/TOTAL",
        "zeta.py flak", "A++", "it (fails)", "ci/1?a=50%", ID[:6], ID[:8], ID
    ],
)  # fmt: skip
def test_a_task_is_found_by_the_beginning_of_a_word_by_what_has_no_blanks_and_by_its_id(
    archive, words
):
    found = look(Current(archive, Extent()), Wanted(words=words), Sides(), None)

    assert [past.task_id for past in found.tasks] == [ID]


@pytest.mark.parametrize(
    "words",
    [
        "laky",
        "失试",
        "flaky 败失",
        "other 失败",
        "totalXzeta",
        "src/%",
        "src/total_zeta_",
        "9d0c2",
        "d0c2f1",
        "f(",
        "a.b " * 1_100,
        50_000 * "z" + ".",
        ". " * 20_000,
        "测" * 20_000,
        "B++",
        "te",
        "*",
    ],
)
def test_a_task_is_not_found_by_what_is_not_in_it(archive, words):
    assert not look(Current(archive, Extent()), Wanted(words=words), Sides(), None).tasks


def test_a_word_of_the_index_is_shown_with_the_text_around_it_whatever_else_finds_its_task(archive):
    archive.note([], Reached("agentbus.*.*.*.*", 1, 3), of="made")
    [past] = look(Current(archive, Extent()), Wanted(words="测试失败了"), Sides(), None).tasks

    assert "fails: 测试失败了" in past.snippet
