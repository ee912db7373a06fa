# SPDX-License-Identifier: Apache-2.0
"""An agent that is started for one task alone, by its user's word: when, and with which profile."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest

from mcp_agentbus.config.rules import Limits, Rules
from mcp_agentbus.config.values import Hours
from mcp_agentbus.errors import BadInput, Refused
from mcp_agentbus.store.steps import first_record, step
from mcp_agentbus.store.task import Sent
from mcp_agentbus.wakes import alone
from mcp_agentbus.wakes.facts import Facts, Hold, PastWake, Waiting, Wake
from mcp_agentbus.wakes.policy import approved

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
OWN_ID = "0123456789abcdef0123456789abcdef"
TASK = Waiting("task coder a", "task", "a", "planner", "planner", "coder")
OTHER = Waiting("task coder b", "task", "b", "planner", "planner", "coder")


@pytest.fixture
def rules(tmp_path):
    return Rules("coder", "claude-code", tmp_path, "hold")


@pytest.fixture
def facts(rules):
    return Facts(NOON, rules, (OTHER,))


def past(*keys, **fields):
    at = NOON - timedelta(minutes=1)
    return PastWake(at, frozenset(keys), frozenset({"planner"}), at, **fields)


@pytest.mark.parametrize("profile", ["answer", "work"])
def test_a_profile_is_the_one_that_was_named(rules, profile):
    assert alone.profile_of(rules, "coder", OWN_ID, profile) == profile


@pytest.mark.parametrize("named", ["hold", "", "Work"])
def test_a_profile_that_cannot_be_named_is_refused_with_those_that_can(rules, named):
    with pytest.raises(BadInput, match=f"^'{named}' is no profile") as caught:
        alone.profile_of(rules, "coder", OWN_ID, named)

    assert caught.value.hint == "Use answer or work."


def test_who_cannot_be_started_for_one_task_is_refused(rules):
    openclaw = replace(rules, host="openclaw")
    for of, task_id, said in (
        (None, OWN_ID, "Nothing says how coder is started"),
        (openclaw, OWN_ID, "coder runs in openclaw, whose sessions cannot be given one task"),
        (rules, "--mine", "The task's id is not one that agentbus gives"),
    ):
        with pytest.raises(Refused, match=f"^{said}"):
            alone.profile_of(of, "coder", task_id, "work")


def test_a_task_is_what_waits_for_its_agent():
    sent = Sent(
        task_id="a", owner="planner", inbox="coder", created_at=NOON, expires_at=NOON,
        priority="low",
    )  # fmt: skip
    record = step(first_record(sent), "needs_approval", "coder", "s", NOON)

    assert alone.waiting(record) == replace(TASK, priority="low")


def test_it_is_started_for_that_task_though_it_is_night_and_others_led_to_no_read(facts, rules):
    night = replace(rules, quiet_hours=Hours(time(11), time(13)))
    unread = tuple(past(TASK.key, led_to_read=False) for _ in range(5))
    asked = replace(facts, rules=night, past=unread, trusted=frozenset())

    assert approved(asked, TASK, "work") == Wake("start", (TASK,), (TASK,), {}, "work")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"session": "can_be_told"}, "deaf_session"),
        ({"session": "cannot_be_told"}, "deaf_session"),
        ({"session": "reads_by_itself"}, "worker"),
        ({"running": True}, "running"),
        ({"ledger_works": False}, "ledger"),
    ],
)
def test_it_is_not_started_beside_a_session_or_a_wake_or_without_a_record_of_it(
    facts, changed, reason
):
    assert approved(replace(facts, **changed), TASK, "work") == Hold(reason)


def test_nobody_is_started_of_whom_nothing_is_said(facts):
    unknown = approved(replace(facts, rules=None), TASK, "work")

    assert unknown == Hold("unknown_host", None, {TASK.key: "unknown_host"})


def test_its_limits_hold_whatever_its_user_has_approved(facts, rules):
    limited = replace(rules, limits=Limits(per_hour=1))
    found = approved(replace(facts, rules=limited, past=(past("x"),)), TASK, "work")

    ends = NOON + timedelta(minutes=59)
    assert found == Hold("agent_rate", ends, {TASK.key: "agent_rate"})
