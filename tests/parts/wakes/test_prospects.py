# SPDX-License-Identifier: Apache-2.0
"""What a listener says beforehand of wakes, and whose reasons are named where several hold one."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest

from mcp_agentbus.config.rules import Limits, Rules
from mcp_agentbus.config.values import Hours
from mcp_agentbus.core.notices import Holds
from mcp_agentbus.wakes.facts import Facts, Hold, PastWake, Waiting
from mcp_agentbus.wakes.policy import decide, prospects

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
TASK = Waiting("task coder a", "task", "a", "planner", "planner", "coder")
OTHER = Waiting("task coder b", "task", "b", "tester", "tester", "coder")


@pytest.fixture
def rules(tmp_path):
    return Rules("coder", "claude-code", tmp_path, "answer")


def past(at, *keys, **fields):
    fields = {"ended_at": at, **fields}
    return PastWake(at, frozenset(keys), frozenset({"planner"}), **fields)


def test_whoever_may_wake_it_is_told_apart_from_those_who_may_not(rules):
    rules = replace(rules, wake_from=frozenset({"tester"}), wake_on=("high", "low"))
    facts = Facts(NOON, rules, (), trusted=frozenset({"planner"}))

    senders = {"planner": "", "tester": ""}
    assert prospects(facts) == Holds("not_allowed", senders, ("high", "low"))
    held = replace(facts, past=(past(NOON - MINUTE),) * 6)
    assert prospects(held) == Holds(
        "not_allowed", {"planner": "sender_rate", "tester": ""}, ("high", "low")
    )
    everybody = replace(facts, rules=replace(rules, wake_from=frozenset({"*"})), past=held.past)
    assert prospects(everybody) == Holds("", {"planner": "sender_rate"}, ("high", "low"))


def test_of_an_agent_without_rules_high_is_what_would_be_looked_at():
    found = prospects(Facts(NOON, None, (), session="can_be_told", trusted=frozenset({"planner"})))

    assert found == Holds("not_allowed", {"planner": ""}, ("high",))


def test_after_a_wake_that_ends_later_than_now_the_pause_begins_now(rules):
    """The clock was set back."""
    for of in ({}, {"ended_at": None}):
        facts = Facts(NOON, rules, (TASK,), past=(past(NOON + HOUR, TASK.key, **of),))

        assert decide(facts) == Hold("backoff", NOON + MINUTE, {TASK.key: "backoff"})


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"per_sender_hour": 1, "per_hour": 1}, "sender_rate"),
        ({"per_hour": 1, "per_sender_hour": 1, "per_day": 0}, "limit_0"),
    ],
)
def test_of_two_limits_that_end_at_once_the_first_is_named_and_one_without_end_counts_more(
    rules, limits, reason
):
    facts = Facts(
        NOON, replace(rules, limits=Limits(**limits)), (TASK,), past=(past(NOON - MINUTE),)
    )
    ends = NOON - MINUTE + HOUR if reason == "sender_rate" else None

    assert decide(facts) == Hold(reason, ends, {TASK.key: reason})


def test_of_two_things_that_wait_as_long_the_first_reason_is_named(rules):
    """One waits for its sender's limit, one for the agent's, and both end with the same wake."""
    limited = replace(rules, limits=Limits(per_hour=1, per_sender_hour=1))
    for waiting in ((TASK, OTHER), (OTHER, TASK)):
        facts = Facts(NOON, limited, waiting, past=(past(NOON - MINUTE),))

        held = {TASK.key: "sender_rate", OTHER.key: "agent_rate"}
        assert decide(facts) == Hold("sender_rate", NOON - MINUTE + HOUR, held)


def test_quiet_hours_lengthen_no_block_that_has_no_end(rules):
    night = replace(rules, quiet_hours=Hours(time(11), time(13)), limits=Limits(per_day=0))

    assert decide(Facts(NOON, night, (TASK,))) == Hold("limit_0", None, {TASK.key: "limit_0"})
