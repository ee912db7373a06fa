# SPDX-License-Identifier: Apache-2.0
"""What is said besides its state to who has published on a task, and of what it was to keep."""

import pytest

from mcp_agentbus.handoff.intake import arrivals
from mcp_agentbus.handoff.results import Published
from mcp_agentbus.store.steps import in_one

DECIDES = (
    "Your user decides: `agentbus approve t1`, or deny, typed outside of any agent. The decision "
    "comes on this task."
)
BEFORE = "It had been published before; nothing was stored again."
FIRST = "Of what was said, 500 characters are kept after the task's next step."
LATE = "It came after the task's deadline and is marked late."
ANSWER = "The answer is stored; its worker is shown it at its next call."
OVERTAKEN = (
    "The answer is stored, and its worker went on in the same moment: it is shown it in the task's "
    "life alone. Call task_life with this task_id to see whether that asks anew."
)
OVERDUE = "The task's deadline has passed: a result is stored all the same, marked late."
REPLIED = "The question has a reply. Call read_inbox: it shows that."
MISSED = (
    "What was asked before has a reply, which came in the same moment. Call task_life with this "
    "task_id to see it."
)


@pytest.mark.parametrize(
    ("state", "more", "note"),
    [
        ("completed", {}, ""),
        ("working", {}, ""),
        ("completed", {"late": True}, LATE),
        ("completed", {"unchanged": True}, BEFORE),
        (
            "cancelled", {"unchanged": True, "unkept": True},
            "It was withdrawn already; this reason was not stored.",
        ),
        ("completed", {"unchanged": True, "late": True}, f"{BEFORE} {LATE}"),
        ("claimed", {"unchanged": True, "is_word": True}, arrivals.NOTHING_TO_ANSWER),
        ("completed", {"is_word": True}, arrivals.WORD_IS_OVER),
        ("working", {"unkept": True}, FIRST),
        ("needs_input", {"unkept": True}, FIRST),
        ("working", {"overdue": True, "unkept": True}, f"{OVERDUE} {FIRST}"),
        ("needs_input", {"unchanged": True, "overdue": True}, f"{BEFORE} {OVERDUE}"),
        ("needs_approval", {}, DECIDES),
        ("needs_approval", {"unchanged": True}, f"{BEFORE} {DECIDES}"),
        ("needs_approval", {"unchanged": True, "is_replied": True}, f"{BEFORE} {REPLIED}"),
        ("needs_input", {"unchanged": True}, BEFORE),
        ("needs_input", {"missed": True, "unkept": True}, f"{MISSED} {FIRST}"),
        ("working", {"is_answer": True, "missed": True}, OVERTAKEN),
        ("needs_approval", {"unkept": True}, f"{DECIDES} {FIRST}"),
        ("needs_input", {"is_answer": True}, ANSWER),
        ("needs_approval", {"is_answer": True}, ANSWER),
        ("needs_approval", {"is_answer": True, "unchanged": True}, BEFORE),
        ("stored", {"is_answer": True}, ANSWER),
        ("stored", {}, "The task is back in the inbox."),
        (
            "stored", {"unkept": True},
            "The task is back in the inbox. Of what was said, 500 characters are kept.",
        ),
        ("stored", {"unchanged": True}, "The task is in the inbox as before."),
        (
            "stored", {"unchanged": True, "unkept": True},
            "The task is in the inbox as before. What was said with that was not stored.",
        ),
    ],
)  # fmt: skip
def test_a_note_says_what_the_state_does_not(state, more, note):
    assert Published("t1", state, **more).note == note


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({}, ""),
        ({"summary": "214"}, "214"),
        ({"summary": "214", "body": "All"}, "214\n\nAll"),
        ({"artifacts": ("a.md", "b.md")}, "Artifact: a.md\nArtifact: b.md"),
        ({"body": "All", "artifacts": ("a.md",)}, "All\n\nArtifact: a.md"),
    ],
)
def test_where_a_single_text_is_kept_it_has_all_that_was_said(said, text):
    assert in_one({"summary": "", "body": "", "artifacts": (), **said}) == text
