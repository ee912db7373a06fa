# SPDX-License-Identifier: Apache-2.0
"""What wakes may cost: of which hosts that counts, and what counts where none is told."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mcp_agentbus.config.rules import Limits, Rules
from mcp_agentbus.wakes.facts import Facts, PastWake, Waiting
from mcp_agentbus.wakes.policy import decide

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
BEFORE = NOON - timedelta(minutes=1)
TASK = Waiting("task coder a", "task", "a", "planner", "planner", "coder")
RULES = Rules("coder", "claude-code", Path("/home/me/shop"), "work")


def reason(rules, *past, session="none"):
    """Return why a task does not wake the agent; empty if it does."""
    return getattr(decide(Facts(NOON, rules, (TASK,), session, past=past)), "reason", "")


@pytest.mark.parametrize(
    ("fields", "session", "held"),
    [
        ({}, "none", "limit_0"),
        ({"host": "cursor"}, "none", ""),
        ({"profile": "hold"}, "none", "profile"),
        ({}, "can_be_told", ""),
        ({"profile": "hold"}, "can_be_told", ""),
        ({}, "cannot_be_told", "deaf_session"),
    ],
)
def test_a_limit_of_0_dollars_starts_nothing_where_the_host_takes_one(fields, session, held):
    rules = replace(RULES, limits=Limits(max_usd=0), **fields)

    assert reason(rules, session=session) == held


@pytest.mark.parametrize("host", ["claude-code", "cursor"])
@pytest.mark.parametrize(("usd", "held"), [(0.5, ""), (1.0, "daily_budget")])
def test_what_wakes_of_a_day_count_for_holds_the_next_whatever_its_host_is_now(host, usd, held):
    rules = replace(RULES, host=host, limits=Limits(usd_per_day=2.0))
    wake = PastWake(BEFORE, frozenset({"x"}), frozenset({"planner"}), BEFORE)

    assert reason(rules, replace(wake, usd=1.0), replace(wake, usd=usd)) == held
