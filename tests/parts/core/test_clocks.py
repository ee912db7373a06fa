# SPDX-License-Identifier: Apache-2.0
"""The time limits fit together: changing one alone must not break what another promises."""

from __future__ import annotations

from mcp_agentbus.bus import budget, connection, reconnect
from mcp_agentbus.handoff import session
from mcp_agentbus.handoff.intake import watches
from mcp_agentbus.store import roster, streams, task
from mcp_agentbus.store.queries import consumers
from mcp_agentbus.tools import mcp_stream, standalone

OFFERED_AGAIN_WITHIN_S = 30  # README: after a crash
CALL_ENDS_WITHIN_S = 5  # README: with the server down
PROCESS_ENDS_WITHIN_S = 2  # README: EOF, SIGTERM, SIGINT


def test_what_a_dead_session_held_is_offered_again_in_the_promised_time():
    assert consumers.ACK_WAIT_S + watches.LOOK_AGAIN_S < OFFERED_AGAIN_WITHIN_S


def test_a_dead_session_counts_as_gone_before_its_tasks_are_offered_again():
    """Else the first to whom they are offered would put them off."""
    assert streams.PRESENCE_S < consumers.ACK_WAIT_S


def test_two_signs_of_life_may_be_lost_before_a_session_counts_as_gone():
    assert 3 * roster.BEAT_S <= streams.PRESENCE_S
    assert 3 * roster.BEAT_S < consumers.ACK_WAIT_S


def test_a_call_ends_in_the_promised_time_also_if_every_try_of_it_times_out():
    asked = max(budget.CALL_S + budget._LEAST_S, budget._ANSWERS_WITHIN_S)
    assert mcp_stream._TURN_S + asked + reconnect._WHY_TIMEOUT_S < CALL_ENDS_WITHIN_S
    assert connection.CONNECT_TIMEOUT_S < budget.CALL_S


def test_a_session_server_ends_in_the_promised_time_also_if_the_bus_hangs():
    assert session._END_TIMEOUT_S <= standalone._CLOSE_TIMEOUT_S < standalone._END_TIMEOUT_S
    assert standalone._END_TIMEOUT_S < PROCESS_ENDS_WITHIN_S


def test_no_task_leaves_the_stream_before_its_deadline():
    [tasks] = [one for one in streams.SETTINGS if one["name"] == "AGENTBUS_TASKS"]

    assert tasks["max_age"] >= task.EXPIRES_MAX_S * 1_000_000_000


def test_a_claim_is_given_back_long_before_its_task_would_leave_the_stream():
    assert task.CLAIM_MAX_S * task.ATTEMPTS_MAX < task.EXPIRES_MAX_S
