# SPDX-License-Identifier: Apache-2.0
"""By which words a task of before is looked for, whatever bytes whoever typed them had."""

import pytest

from mcp_agentbus.archive.catch_up import Extent
from mcp_agentbus.archive.entries import Change
from mcp_agentbus.archive.file import Archive, Reached
from mcp_agentbus.archive.history import Current, Sides, Wanted, look
from mcp_agentbus.archive.standing import named
from mcp_agentbus.config.settings import Keeps
from mcp_agentbus.core.text import now
from mcp_agentbus.errors import BadInput

#: As Python reads a byte of a shell that is no UTF-8, and what JSON may spell.
HALVES = ["\udcff", "flaky \ud800test"]


@pytest.fixture
def archive():
    with Archive(None, Keeps()) as archive:
        values = {"subject": "A flaky test", "created_at": now(), "request": "It \0fails."}
        change = Change("planner", "coder", "9d0c2f1a", now(), 1, "sent_seq", values)
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
