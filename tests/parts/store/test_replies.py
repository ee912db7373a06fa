# SPDX-License-Identifier: Apache-2.0
"""All that was said to a question, and nothing of what was said to another."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from mcp_agentbus.store.asked import decisions, replies
from mcp_agentbus.store.asked.decisions import Decision
from mcp_agentbus.store.asked.replies import Replies, to_question
from mcp_agentbus.store.steps import first_record, step
from mcp_agentbus.store.task import Answer, Sent

NOON = datetime(2026, 11, 21, 12, 0, 0, 250_000, tzinfo=UTC)
BEFORE = NOON - timedelta(minutes=1)
DECISION = Decision(approved=True, note="", at=NOON + timedelta(seconds=1))


def answer(question):
    return Answer(question=question, at=NOON, body="x")


@pytest.mark.parametrize(
    ("said", "is_any", "mark"),
    [
        (Replies(), False, ":0"),
        (Replies(NOON), False, "1795262400.250000:0"),
        (Replies(NOON, (answer(NOON),)), True, "1795262400.250000:1"),
        (Replies(NOON, (), DECISION), True, "1795262400.250000:0-1795262401.250000"),
    ],
)
def test_what_was_said_has_a_mark_that_nothing_else_said_has(said, is_any, mark):
    assert (bool(said), said.mark) == (is_any, mark)


async def test_the_answers_and_the_decision_are_those_to_this_question(monkeypatch, tmp_path):
    sent = Sent(task_id="t1", owner="planner", inbox="coder", created_at=NOON, expires_at=NOON)
    answers = (answer(BEFORE), answer(NOON), answer(NOON))
    kept = [sent.model_copy(update={"answers": answers}), None]
    record = step(first_record(sent), "needs_approval", "coder", "s", NOON)
    bus = SimpleNamespace(settings=SimpleNamespace(state_dir=tmp_path))

    async def read_sent(_, *where):
        assert where == ("planner", "coder", "t1")
        return kept.pop(0), 1

    monkeypatch.setattr(replies, "read_sent", read_sent)
    decisions.keep(tmp_path, record, DECISION)

    assert await to_question(bus, record) == Replies(NOON, answers[1:], DECISION)
    assert await to_question(bus, record) == Replies(NOON, (), DECISION)
    assert await to_question(bus, None) == Replies()
    assert await to_question(bus, first_record(sent)) == Replies()
