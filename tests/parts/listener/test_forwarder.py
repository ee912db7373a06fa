# SPDX-License-Identifier: Apache-2.0
"""How long the outbox waits between two tries, however many there were."""

from __future__ import annotations

import pytest

from mcp_agentbus.listener.outbox.forwarder import pause_s


@pytest.mark.parametrize("tries", [1, 3, 5, 2_000, 10**9])
def test_what_the_bus_holds_back_is_tried_ever_more_seldom_but_each_half_minute(tries):
    assert pause_s(tries, is_there=True) == min(30, 2 ** min(tries, 9))


@pytest.mark.parametrize("tries", [1, 3, 2_000, 10**9])
def test_a_bus_that_is_away_is_looked_for_every_two_seconds_at_least(tries):
    assert pause_s(tries, is_there=False) == (0.3, 0.6, 1.2, 2)[min(tries, 3)]
