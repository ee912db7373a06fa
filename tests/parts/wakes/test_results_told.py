# SPDX-License-Identifier: Apache-2.0
"""How often an agent is woken for a result: until something was read of it, as for a task."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mcp_agentbus.config.rules import Limits, Rules
from mcp_agentbus.wakes.facts import Facts, Hold, PastWake, Waiting, Wake
from mcp_agentbus.wakes.policy import BACKOFF, HOUR, decide

NOW = datetime(2026, 5, 18, 10, 0, tzinfo=UTC)
RULES = Rules("coder", "claude-code", Path("/home/me/shop"), "answer")
RESULT = Waiting("result r 1", "result", "r", "tester", "coder", "tester")
NOTICE = replace(RESULT, key="result s 1", task_id="s", live_only=True)


def _past(ago, **fields):
    keys = frozenset({RESULT.key, NOTICE.key})
    return PastWake(NOW - ago, keys, frozenset({"planner"}), NOW - ago, **fields)


def _facts(*waiting, **fields):
    return Facts(**{"now": NOW, "rules": RULES, "waiting": waiting, **fields})


@pytest.mark.parametrize("read", [True, None])
def test_a_result_is_told_once(read):
    past = (_past(HOUR, led_to_read=read),)
    assert decide(_facts(RESULT, NOTICE, past=past, session="can_be_told")) == Hold("nothing")


def test_a_result_of_which_a_wake_led_to_no_read_is_told_again_as_a_task_is():
    for tries, pause in enumerate(BACKOFF, 1):
        fresh, old = (
            _facts(RESULT, past=(_past(ago, led_to_read=False),) * tries)
            for ago in (timedelta(0), pause)
        )
        assert decide(fresh) == Hold("backoff", NOW + pause, {RESULT.key: "backoff"})
        assert decide(old) == Wake("start", (RESULT,), (RESULT,))
    past = (_past(HOUR, led_to_read=False),) * (len(BACKOFF) + 1)
    assert decide(_facts(RESULT, past=past)).reason == "gave_up"


def test_a_notice_of_a_result_in_a_live_session_is_given_once_whatever_it_led_to():
    past = (_past(HOUR, led_to_read=False),)
    assert decide(_facts(NOTICE, past=past, session="can_be_told")) == Hold("nothing")


def test_a_notice_that_its_user_wants_none_of_is_nobodys_need():
    rules = replace(RULES, limits=Limits(result_notices_per_hour=0))

    assert decide(_facts(NOTICE, rules=rules, session="can_be_told")) == Hold("nothing")
