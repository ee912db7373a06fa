# SPDX-License-Identifier: Apache-2.0
"""Tasks of before in a list: what a row costs its reader."""

from dataclasses import replace
from datetime import timedelta
from typing import get_args

import strategies
from hypothesis import example, given
from hypothesis import strategies as st
from places import outside_and_inside
from situations import ID, before, number, past

from mcp_agentbus.archive.audit import TaskStep
from mcp_agentbus.archive.history import History
from mcp_agentbus.core.ids import LANES, is_agent, is_inbox
from mcp_agentbus.core.text import now
from mcp_agentbus.store.asked import decisions
from mcp_agentbus.store.asked.question import Question
from mcp_agentbus.store.task import Expect, State
from mcp_agentbus.tools.answers.past import (
    fact_line,
    history_text,
    row,
    said_line,
    step_markdown,
    unlike,
)
from mcp_agentbus.tools.answers.readers import MODEL, SHELL

# Beside what was written; a token is taken for 3.5 characters, as in test_tools_snapshot.py.
TOKENS_MAX, CHARS_PER_TOKEN = 120, 3.5
# As long as names may be.
LONG, ROLE = "n" * 63, f"role-{'r' * 58}"
assert is_agent(LONG)
assert is_inbox(ROLE)
LONG_AGO = before(days=700_000)
names = strategies.agent_ids | st.integers(1, 63).map("n".__mul__)
task_ids = st.sampled_from([ID, "T" * 64]) | strategies.task_ids
times = st.sampled_from([before(days=29), LONG_AGO])
questions = st.builds(
    Question, st.sampled_from(["needs_input", "needs_approval"]), names, times,
    st.none() | times, st.none() | times, st.sampled_from([True, False, None]),
)  # fmt: skip
pasts = st.builds(
    past, task_id=task_ids, owner=names, inbox=names | strategies.inboxes, agent=names,
    state=st.sampled_from(get_args(State)), priority=st.sampled_from(LANES), subject=st.just(""),
    expect=st.sampled_from(get_args(Expect)), asked_by=st.just("") | names, created_at=times,
    updated_at=times, deliver_at=st.none() | st.just(now() + timedelta(days=7)),
    reason=st.sampled_from(["", decisions.AFTER[False]]), late=st.booleans(),
    is_asked=st.booleans(), question=st.none() | questions, is_left=st.booleans(),
    is_outgoing=st.booleans(),
)  # fmt: skip
# Of what may be said of a task as much as can be, of each in the longest words.
LONGEST = past(
    task_id="T" * 64, owner=LONG, inbox=ROLE, agent=LONG, state="needs_input", subject="",
    question=Question("needs_approval", LONG, LONG_AGO, None, LONG_AGO, None), is_left=True,
    priority="high", created_at=LONG_AGO, updated_at=LONG_AGO, late=True, expect="nothing",
    deliver_at=now() + timedelta(days=7), asked_by=LONG,
)  # fmt: skip


@given(pasts)
@example(LONGEST)
@example(replace(LONGEST, task_id=ID))
@example(replace(LONGEST, question=replace(LONGEST.question, decided_at=None)))
def test_a_row_of_a_list_costs_no_more_than_120_tokens_beside_its_texts_whatever_its_lengths(task):
    written = f"{row(task)}\n    {said_line(task)} | \n"

    assert len(written) / CHARS_PER_TOKEN <= TOKENS_MAX, written


def test_a_row_has_its_names_whole_where_there_is_room_and_else_both_ends_of_each():
    holder, asker = "shop-coder-of-the-north-wing-1f3a", "a-reviewer-of-the-south-wing-9c2b"
    question = Question("needs_approval", asker, before(days=2))
    task = past(state="claimed", agent=holder, is_asked=False, is_left=True, question=question)
    longer = replace(LONGEST, agent=f"{'h' * 59}1f3a", inbox="coder")

    assert row(task) == fact_line(task)
    assert f"claimed by {holder} " in row(task)
    assert f"needs_input by {longer.agent} " in fact_line(longer)
    assert "hhh\u2026h" in row(longer)
    assert "h1f3a 7" in row(longer)
    assert " to coder " in row(longer)


def test_who_got_a_result_as_well_is_told_who_answers_what_is_asked():
    question = Question("needs_input", "coder", before(hours=1))
    own = past(state="needs_input", agent="coder", question=question)

    assert "to answer: agentbus answer 9d0c2f1a" in row(own)
    copy = row(replace(own, owner="third", asked_by="planner"))
    assert "planner answers that" in copy
    assert "agentbus answer" not in copy


def test_what_its_deadline_ended_is_over_since_then_whoever_has_written_that_down():
    at = now() - timedelta(minutes=1, seconds=1)
    task = past(state="expired", updated_at=at - timedelta(minutes=10), expires_at=at)

    assert " expired 1 min ago " in fact_line(task)


def test_of_twenty_tasks_a_terminal_shows_how_each_stands_and_a_model_reads_that_first():
    page = History(tuple(map(number, range(20))))

    typed = history_text(page, "of planner", SHELL).splitlines()[-23:]
    called = history_text(page, "of planner", MODEL).splitlines()

    assert typed[1] == called[0] == "20 tasks of planner, the latest first."
    assert typed[2:22] == called[1:21]
    assert all("stored" in line and len(line) <= 80 for line in typed[2:22])


def test_of_a_page_behind_the_last_task_is_said_that_none_comes_after_that():
    none = unlike("past-1", "words")

    assert (
        history_text(History(()), "of planner", none=none) == "No task of planner comes after that."
    )


def told(state, at, by="coder", reason="", note="", *, is_last=False, **task):
    """What a diary has of a step, of a task that another has completed by now."""
    ended = past(
        state="completed",
        updated_at=before(minutes=1),
        agent="reviewer",
        result="All pass.",
        **task,
    )
    entry = TaskStep(1, at, state, by, reason, note, ended, is_last)
    return outside_and_inside(step_markdown(entry))


def test_a_step_is_told_with_what_was_said_then_and_the_last_end_with_the_tasks_texts():
    parked = told("parked", before(hours=1), reason="claimed 5 times")
    assert parked[1].endswith("claimed 5 times")
    assert "All pass." not in parked[1]

    last = told("completed", before(minutes=9), by="reviewer", is_last=True)
    assert last[1].endswith("All pass.")


def test_what_was_said_with_a_step_is_told_as_its_own_agents():
    released = told("stored", before(hours=1), reason="its worker released it", note="Too large")

    assert "text from agent coder" in released[0] + released[1]
