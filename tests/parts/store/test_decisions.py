# SPDX-License-Identifier: Apache-2.0
"""What a user has decided lies on this machine alone, and counts for the very question it is about."""

import os
import time
from datetime import UTC, datetime, timedelta

import pytest

from mcp_agentbus.store.asked import decisions
from mcp_agentbus.store.asked.decisions import AFTER, Decision
from mcp_agentbus.store.steps import first_record, step
from mcp_agentbus.store.task import EXPIRES_MAX_S, Sent

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SAID = {True: "its user had approved what it asked", False: "its user had denied what it asked"}


def _asking(state="needs_approval", task_id="t1", at=NOON):
    sent = Sent(task_id=task_id, owner="planner", inbox="coder", created_at=at, expires_at=at)
    return step(first_record(sent), state, "coder", "s", at, note="May I drop it?")


def _with(record, *reasons):
    """Return a record as it stands after steps with these reasons."""
    for number, reason in enumerate(reasons, 1):
        record = step(record, "working", "coder", "s", NOON + timedelta(minutes=number),
                      reason=reason)  # fmt: skip
    return record


@pytest.mark.parametrize(
    ("decision", "told"),
    [
        (
            Decision(approved=True, note="main", at=NOON),
            'Your user has APPROVED this about task t1, 2026-11-21 12:00:00Z, with the words "main"',
        ),
        (
            Decision(approved=False, note="", at=NOON),
            "Your user has DENIED this about task t1, 2026-11-21 12:00:00Z",
        ),
    ],
)
def test_a_decision_is_read_as_it_was_written_and_told_with_its_words(tmp_path, decision, told):
    decisions.keep(tmp_path, _asking(), decision)

    assert decisions.kept(tmp_path, _asking()) == decision
    assert decisions.given(tmp_path, "planner", "coder", "t1") == decision
    assert decision.told("t1") == told


def test_it_is_of_no_other_task_and_of_no_other_question(tmp_path):
    decisions.keep(tmp_path, _asking(), Decision(approved=True, note="", at=NOON))
    later = _asking(at=NOON + timedelta(minutes=1))

    assert decisions.kept(tmp_path, later) is None
    assert decisions.kept(tmp_path, _asking(task_id="t2")) is None
    assert decisions.kept(tmp_path, _with(_asking(), "")) is None
    assert decisions.given(tmp_path, "planner", "coder", "t2") is None


@pytest.mark.parametrize("others", [0o640, 0o602])
def test_what_others_can_read_or_write_is_no_decision(tmp_path, others):
    decisions.keep(tmp_path, _asking(), Decision(approved=True, note="", at=NOON))
    [file] = (tmp_path / "decisions").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(others)

    assert decisions.kept(tmp_path, _asking()) is None
    assert decisions.given(tmp_path, "planner", "coder", "t1") is None


def test_what_asks_nothing_has_no_decision_even_of_one_that_was_about_nothing(tmp_path):
    silent = _with(_asking(), "")
    decisions.keep(tmp_path, silent, Decision(approved=True, note="", at=NOON))

    assert decisions.kept(tmp_path, silent) is None


def test_the_decision_about_a_question_is_forgotten_and_no_other(tmp_path):
    decisions.keep(tmp_path, _asking(), Decision(approved=True, note="", at=NOON))

    decisions.forget(tmp_path, _asking(at=NOON + timedelta(minutes=1)))
    assert decisions.kept(tmp_path, _asking())
    decisions.forget(tmp_path, _asking())
    assert decisions.given(tmp_path, "planner", "coder", "t1") is None


def test_what_no_task_can_need_any_more_goes_with_the_next_decision(tmp_path, monkeypatch):
    decision = Decision(approved=True, note="", at=NOON)
    monkeypatch.setattr(time, "time", lambda: 2.0 * EXPIRES_MAX_S)
    at = datetime.fromtimestamp(2 * EXPIRES_MAX_S, UTC)
    for age_s in (-1, 0, 1):
        task_id = f"{age_s}"
        decisions.keep(tmp_path, _asking(task_id=task_id), decision)
        file = decisions._file_of(tmp_path, "planner", "coder", task_id)
        os.utime(file, (EXPIRES_MAX_S - age_s, EXPIRES_MAX_S - age_s))

    decisions.keep(tmp_path, _asking(at=at), decision)

    left = {age: decisions.given(tmp_path, "planner", "coder", age) for age in ("-1", "0", "1")}
    assert left == {"-1": decision, "0": decision, "1": None}


def test_by_a_clock_that_is_ahead_no_decision_is_forgotten(tmp_path, monkeypatch):
    """Its worker, whose clock was right, had asked a moment before, and never read what was said."""
    decision = Decision(approved=True, note="", at=NOON)
    decisions.keep(tmp_path, _asking(), decision)
    monkeypatch.setattr(time, "time", lambda: NOON.timestamp() + 100 * 24 * 3600)
    for task_id in ("t2", "t3"):
        decisions.keep(tmp_path, _asking(task_id=task_id), decision)

    assert decisions.kept(tmp_path, _asking()) == decision


@pytest.mark.parametrize(
    ("before", "state", "decided", "reason"),
    [
        ((), "working", None, ""),
        ((), "working", True, SAID[True]),
        ((), "working", False, SAID[False]),
        ((), "completed", True, ""),
        ((), "completed", False, SAID[False]),
        ((), "completed", None, ""),
        ((SAID[False],), "completed", None, SAID[False]),  # read before, and never gone on from
        ((SAID[False],), "working", None, ""),
        ((SAID[False], SAID[True]), "completed", None, ""),  # the latest counts
        ((SAID[True], SAID[False], "else"), "completed", None, SAID[False]),
    ],
)
def test_a_step_says_what_was_decided_before_it_and_an_end_only_a_no(
    before, state, decided, reason
):
    decision = None if decided is None else Decision(approved=decided, note="", at=NOON)

    assert decisions.reason_after(_with(_asking(), *before), state, decision) == reason
    assert AFTER == SAID


def test_only_what_was_completed_after_a_no_is_against_it():
    assert decisions.is_against("completed", SAID[False])
    assert not decisions.is_against("completed", SAID[True])
    assert not decisions.is_against("failed", SAID[False])
