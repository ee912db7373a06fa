# SPDX-License-Identifier: Apache-2.0
"""How long it counts what time the server said it was."""

import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from mcp_agentbus.store.queries.clock import _Told

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("passed_s", "by_clock_s", "connection", "counts"),
    [
        (0, 0, 1, True),
        (59, 59, 1, True),
        (61, 61, 1, False),
        (30, 32, 1, False),  # set ahead, or the machine has slept
        (30, 28, 1, False),
        (30, -30, 1, False),
        (30, 30, 2, False),  # it may be another server
    ],
)
def test_it_counts_for_a_minute_on_its_connection_until_this_machines_clock_is_set(
    passed_s, by_clock_s, connection, counts
):
    told = _Told(1, timedelta(0), NOON, time.monotonic() - passed_s)
    here = NOON + timedelta(seconds=by_clock_s)

    assert told.counts(SimpleNamespace(connections=connection), here, about=NOON) is counts


@pytest.mark.parametrize(("days", "is_far"), [(-10, False), (-8.5, True), (0, True), (10, True)])
def test_what_is_far_away_is_so_by_the_servers_clock(days, is_far):
    told = _Told(1, timedelta(days=-10), NOON, time.monotonic())

    assert told.is_far(NOON, NOON + timedelta(days=days)) is is_far
