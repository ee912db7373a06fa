# SPDX-License-Identifier: Apache-2.0
"""What is to be done about a wake that is held."""

import pytest

from mcp_agentbus.core.notices import FOR_A_PERSON, Reason
from mcp_agentbus.overview.todo import todo_for


def test_these_holds_end_only_once_a_person_does_something():
    assert {
        Reason.NOT_ACCEPTED, Reason.NOT_ALLOWED, Reason.LIMIT_0, Reason.GAVE_UP, Reason.PROFILE,
        Reason.MODE, Reason.UNKNOWN_HOST, Reason.DEAF_SESSION, Reason.UNANSWERED, Reason.LEDGER,
    } == FOR_A_PERSON  # fmt: skip


@pytest.mark.parametrize("reason", Reason)
def test_only_what_passes_by_itself_may_be_waited_for(reason):
    todo = todo_for(reason, "coder")

    assert todo.startswith("Wait, or") == (reason not in FOR_A_PERSON)


def test_of_a_wake_that_came_to_nothing_it_is_said_where_its_end_is_told():
    todo = todo_for(Reason.BACKOFF, "coder")

    assert todo == (
        "Wait, or open a session of coder; `agentbus agent wakes coder` shows how the last wake "
        "ended."
    )
