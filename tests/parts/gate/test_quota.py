# SPDX-License-Identifier: Apache-2.0
"""How much an account may do: what an honest machine does passes, and a flood waits or is refused."""

from __future__ import annotations

import pytest

from mcp_agentbus.gate import quota
from mcp_agentbus.gate.quota import Quota
from mcp_agentbus.store import streams
from mcp_agentbus.store.subjects import RESULTS, SCHEDULE, TASKS


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self):
        self.at = 1_000.0

    def __call__(self):
        return self.at


@pytest.fixture
def clock():
    return Clock()


def test_so_many_tasks_go_in_a_minute_and_more_as_time_goes_by(clock):
    limits = Quota(clock)
    sent = sum(limits.may_send("laptop") for _ in range(2 * quota.TASKS_PER_MINUTE))
    clock.at += 30

    assert sent == quota.TASKS_PER_MINUTE
    assert sum(limits.may_send("laptop") for _ in range(10_000)) == quota.TASKS_PER_MINUTE // 2
    assert limits.may_send("vps")


def test_so_many_of_others_are_written_to_in_a_minute_and_those_again(clock):
    limits = Quota(clock)
    names = [f"a{number}" for number in range(quota.REACHED_MAX)]
    assert all(limits.may_reach("laptop", name) for name in names)
    assert not limits.may_reach("laptop", "more")
    assert limits.may_reach("laptop", names[0])
    assert limits.may_reach("vps", "more")
    clock.at += 61

    assert limits.may_reach("laptop", "more")


def test_so_many_bytes_stay_in_a_minute_and_in_a_day(clock):
    limits, size = Quota(clock), 1 << 20
    stored = 0
    for _ in range(24 * 60):
        stored += sum(size for _ in range(100) if limits.may_store("laptop", TASKS, size))
        clock.at += 60

    assert stored <= 2 * quota.BYTES_PER_DAY[TASKS]
    assert limits.may_store("laptop", RESULTS, size)
    assert not limits.may_store("laptop", RESULTS, quota.BYTES_PER_MINUTE + 1)


@pytest.mark.parametrize("stream", [TASKS, SCHEDULE, RESULTS])
def test_in_a_day_one_account_takes_no_more_than_a_quarter_of_a_stream(clock, stream):
    limits, size = Quota(clock), 64 << 10
    [room] = [each["max_bytes"] for each in streams.SETTINGS if each["name"] == stream]
    stored = 0
    for _ in range(10):  # as much a minute as is let in
        stored += sum(size for _ in range(2_000) if limits.may_store("laptop", stream, size))
        clock.at += 60

    assert 0 < stored <= room / 4 * 1.01


def test_so_many_sessions_say_that_they_live_and_others_once_those_are_gone(clock):
    limits = Quota(clock)
    names = [f"s{number}" for number in range(quota.SESSIONS_MAX)]
    assert all(limits.may_live("laptop", name, 100) for name in names)
    assert not limits.may_live("laptop", "more", 100)
    assert limits.may_live("laptop", names[0], 100)
    clock.at += 16

    assert limits.may_live("laptop", "more", 100)


def test_what_sessions_say_has_a_size(clock):
    limits = Quota(clock)
    large = quota.SIGNS_MAX_BYTES // 4
    assert [limits.may_live("laptop", name, large) for name in "abcde"] == [True] * 4 + [False]
    assert limits.may_live("laptop", "a", large)
    assert limits.may_live("vps", "e", large)


def test_who_reads_past_what_is_others_waits_and_does_not_flood(clock):
    limits = Quota(clock)
    assert sum(not limits.scan_rest_s("laptop", 0) for _ in range(20_000)) == 5_000
    for _ in range(100):
        clock.at += 0.1
        while not limits.scan_rest_s("laptop", 0):
            pass
    assert not limits.floods("laptop")


def test_so_many_consumers_are_made_in_a_day_and_those_that_are_there_again_and_again(clock):
    limits = Quota(clock)
    names = [f"x{number}_high" for number in range(quota.CONSUMERS_MAX)]
    assert all(limits.may_make("laptop", name) for name in names)
    assert not limits.may_make("laptop", "more")
    assert limits.may_make("laptop", names[0])
    clock.at += 25 * 3600

    assert limits.may_make("laptop", "more")


def test_who_asks_more_than_that_waits_and_who_does_not_stop_floods(clock):
    limits = Quota(clock)
    while not limits.rest_s("laptop", 0):
        pass
    assert not limits.rest_s("vps", 0)
    assert not limits.floods("laptop")
    for _ in range(55):
        clock.at += 0.1
        while not limits.rest_s("laptop", 0):
            pass
    assert limits.floods("laptop")
    assert not limits.floods("vps")


def test_a_burst_that_ends_is_no_flood(clock):
    limits = Quota(clock)
    for _ in range(20):  # each second as much as may be, and then nothing for three
        while not limits.rest_s("laptop", 0):
            pass
        clock.at += 3

    assert not limits.rest_s("laptop", 0)
    assert not limits.floods("laptop")


def test_a_large_body_is_as_much_as_several_requests(clock):
    small, large = Quota(clock), Quota(clock)

    def until_it_waits(limits, size):
        count = 0
        while not limits.rest_s("laptop", size):
            count += 1
        return count

    assert until_it_waits(small, 0) > 50 * until_it_waits(large, 500_000)


def test_whose_connection_the_server_ends_again_and_again_floods(clock):
    limits = Quota(clock)
    for _ in range(5):
        assert not limits.floods("laptop")
        limits.opened("laptop")
        clock.at += 1
    assert limits.floods("laptop")
    for _ in range(10):  # as where the server itself ends again and again
        limits.begin()
        limits.opened("vps")
    assert not limits.floods("vps")
