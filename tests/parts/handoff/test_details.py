# SPDX-License-Identifier: Apache-2.0
"""What is said with a report is text that can be stored, or is refused."""

import pytest

from mcp_agentbus.errors import BadInput
from mcp_agentbus.handoff.reports.details import checked


@pytest.mark.parametrize(
    ("what", "said"), [("summary", "\ud800"), ("body", "\ud800"), ("artifact", ["\ud800"])]
)
def test_what_utf_8_cannot_hold_is_refused_wherever_it_stands(what, said):
    field = "artifacts" if what == "artifact" else what
    with pytest.raises(BadInput, match=f"The {what} has half a surrogate pair"):
        checked("completed", {field: said})


@pytest.mark.parametrize("field", ["summary", "body"])
def test_a_question_that_is_no_text_is_refused_as_such(field):
    with pytest.raises(BadInput, match=f"The {field} is of type bytes"):
        checked("needs_input", {field: b"Which branch?"})


def test_what_is_said_is_kept_as_it_was_said():
    said = {"summary": "214", "body": "All", "artifacts": ["a.md"], "progress": 40}

    assert checked("working", said) == {**said, "artifacts": ("a.md",)}
    nothing = {"summary": "", "body": "", "artifacts": (), "progress": None}
    assert checked("completed", {}) == nothing


@pytest.mark.parametrize(
    ("field", "most", "unit"),
    [
        ("summary", 2_000, "é"),
        ("body", 262_144, "x"),
        ("artifacts", 50, ["a.md"]),
        ("artifact", 1_024, "é"),
        ("progress", 100, 1),
    ],
)
def test_what_is_as_large_as_it_may_be_is_kept_and_one_more_is_refused(field, most, unit):
    name = "artifacts" if field == "artifact" else field

    def said(count):
        return {name: [unit * count] if field == "artifact" else unit * count}

    assert checked("working", said(most))[name]
    with pytest.raises(BadInput):
        checked("working", said(most + 1))


@pytest.mark.parametrize("progress", [0, 0.5, 100])
def test_a_share_done_is_a_percentage(progress):
    assert checked("working", {"progress": progress})["progress"] == progress
    with pytest.raises(BadInput, match="progress is -1"):
        checked("working", {"progress": -1})


def test_a_misspelt_keyword_is_refused_before_a_result_is_stored_without_it():
    with pytest.raises(BadInput, match="publish_result takes no 'sumary'") as refused:
        checked("completed", {"sumary": "31 passed"})

    assert refused.value.hint == "Nearest: summary."


def test_what_is_no_status_is_refused_with_those_that_are():
    with pytest.raises(BadInput, match="'done' is no status") as refused:
        checked("done", {})

    assert refused.value.hint.startswith("Use one of working, completed,")


@pytest.mark.parametrize("status", ["needs_input", "needs_approval"])
@pytest.mark.parametrize("said", [{}, {"summary": " ", "body": "\n"}, {"progress": 40}], ids=str)
def test_a_question_that_asks_nothing_is_refused(status, said):
    with pytest.raises(BadInput, match="The question is empty") as refused:
        checked(status, said)

    assert "Say it in the summary" in refused.value.hint
    assert checked(status, {**said, "artifacts": ["a.md"]})["artifacts"] == ("a.md",)
