# SPDX-License-Identifier: Apache-2.0
"""Tasks of before in a list: what a row costs its reader."""

from dataclasses import replace
from datetime import timedelta

import pytest
from situations import ID, before, number, past

from mcp_agentbus.archive.history import History
from mcp_agentbus.core.ids import is_agent, is_inbox
from mcp_agentbus.core.text import now
from mcp_agentbus.store.asked import decisions
from mcp_agentbus.store.asked.question import Question
from mcp_agentbus.tools.answers.past import fact_line, history_text, said_line
from mcp_agentbus.tools.answers.readers import MODEL, SHELL

# Beside what was written; a token is taken for 3.5 characters, as in test_tools_snapshot.py.
TOKENS_MAX, CHARS_PER_TOKEN = 120, 3.5
# As long as names may be; ids are those made here.
SENDER, HOLDER, OTHER, ROLE = "s" * 63, "h" * 63, "o" * 63, f"role-{'r' * 58}"
assert all(map(is_agent, (SENDER, HOLDER, OTHER)))
assert is_inbox(ROLE)
LONG_AGO = before(days=29)
ASKED = Question("needs_approval", OTHER, LONG_AGO)
APPROVED = replace(ASKED, decided_at=LONG_AGO, approved=True)
ROWS = {
    "asked by one, held by another": {"state": "claimed", "question": ASKED, "is_asked": False},
    "the same, decided": {
        "state": "claimed",
        "question": APPROVED,
        "is_asked": False,
    },
    "asks": {"state": "needs_approval", "question": ASKED, "is_asked": False},
    "asked by one, left by another": {
        "state": "claimed",
        "question": ASKED,
        "is_asked": False,
        "is_left": True,
    },
    "decided, and left by another": {
        "state": "claimed",
        "question": APPROVED,
        "is_asked": False,
        "is_left": True,
    },
    "completed after a no": {
        "state": "completed",
        "late": True,
        "is_asked": False,
        "reason": decisions.AFTER[False],
    },
    "a copy of another's result": {"state": "completed", "late": True, "asked_by": OTHER},
    "a word for later": {"expect": "nothing", "deliver_at": now() + timedelta(days=7)},
}


@pytest.mark.parametrize("name", ROWS)
def test_the_longest_rows_of_a_list_cost_no_more_than_120_tokens_beside_their_texts(name):
    whose = {"task_id": ID, "owner": SENDER, "inbox": ROLE, "agent": HOLDER, "priority": "high"}
    times = {"created_at": LONG_AGO, "updated_at": LONG_AGO}
    task = past(**whose, **times, **ROWS[name], subject="")
    row = f"{fact_line(task)}\n    {said_line(task)}\n"

    assert len(row) / CHARS_PER_TOKEN <= TOKENS_MAX, row


def test_of_twenty_tasks_a_terminal_shows_how_each_stands_and_a_model_reads_that_first():
    page = History(tuple(map(number, range(20))))

    typed = history_text(page, "of planner", SHELL).splitlines()[-23:]
    called = history_text(page, "of planner", MODEL).splitlines()

    assert typed[1] == called[0] == "20 tasks of planner, the latest first."
    assert typed[2:22] == called[1:21]
    assert all("stored" in row and len(row) <= 80 for row in typed[2:22])
