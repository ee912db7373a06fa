# SPDX-License-Identifier: Apache-2.0
"""Whose connection to the lobby ends: who stays too long, and most of an address that fills it."""

from datetime import UTC, datetime, timedelta

import pytest

from mcp_agentbus.shared.accounts import crowd
from mcp_agentbus.shared.accounts.apply import Visitor
from mcp_agentbus.shared.accounts.bus_conf import INVITED_MAX

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def visitors(*each):
    """Of each address and age in seconds a connection; the first number is the oldest."""
    return [Visitor(n, ip, NOW - timedelta(seconds=age)) for n, (ip, age) in enumerate(each)]


def ended(those):
    return {each.number for each in crowd.to_end(those, NOW)}


def test_who_joins_stays_and_who_is_there_for_a_minute_does_not():
    assert ended(visitors(("192.0.2.1", 61), ("192.0.2.1", 59), ("192.0.2.2", 0))) == {0}


@pytest.mark.parametrize(
    "hers", [["198.51.100.7"], [f"2001:db8::{number:x}" for number in range(200)]]
)
def test_of_an_address_that_fills_the_lobby_the_latest_few_stay(hers):
    flood = [(hers[number % len(hers)], 50 - number / 3) for number in range(INVITED_MAX - 1)]
    those = visitors(*flood, ("192.0.2.1", 55))

    assert ended(those) == set(range(INVITED_MAX - 1 - crowd._OF_ONE))
    assert crowd.told(those).startswith(f"{INVITED_MAX} of {INVITED_MAX} ")


def test_where_half_is_free_one_address_may_have_many():
    assert not ended(visitors(*[("192.0.2.1", 5)] * (INVITED_MAX // 2)))
