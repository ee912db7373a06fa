# SPDX-License-Identifier: Apache-2.0
"""What a wake says: numbers only; and why there is none: words of one table."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_agentbus.core.notices import WHY, Counts, Reason, text


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (Counts(high=1), "1 task waits in your agentbus inbox, it is high priority."),
        (Counts(others=1), "1 task waits in your agentbus inbox."),
        (Counts(high=1, others=1), "2 tasks wait in your agentbus inbox, 1 of them high priority."),
        (Counts(results=1), "1 result of a task that you sent with agentbus can be read."),
        (
            Counts(high=2, results=2),
            "2 tasks wait in your agentbus inbox, all high priority; 2 results of tasks that you sent with agentbus can be read.",
        ),
        (Counts(answers=1), "1 answer to a question about a task that you hold can be read."),
        (Counts(), "Your agentbus inbox has changed."),
    ],
)
def test_it_says_how_much_waits(counts, expected):
    assert text(counts) == f"{expected} Call read_inbox."


@given(st.builds(Counts, *[st.integers(0, 10**6)] * 4))
def test_it_is_one_short_line(counts):
    assert len(text(counts)) < 240
    assert len(text(counts).splitlines()) == 1


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_is_a_word_for_programs_and_a_line_for_people(reason):
    assert json.loads(json.dumps(reason)) == f"{reason}" == reason.value
    assert WHY.get(reason.value, "") == reason.why
    assert (reason.why == "") == (reason is Reason.NOTHING)
    assert len(reason.why) < 100
    assert len(reason.why.splitlines()) <= 1
