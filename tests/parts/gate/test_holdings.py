# SPDX-License-Identifier: Apache-2.0
"""How much of a stream an account may have: what it likes, until there is little; then a share."""

import pytest

from mcp_agentbus.gate.share.holdings import Holdings

MIB = 1 << 20
ROOM = 4_096 * MIB


class Stream:
    """A stream that grows full, and who has how much there, as its holdings are told of it."""

    def __init__(self):
        self.at, self.has = 1_000.0, {}
        self.holdings = Holdings(lambda: self.at)
        self.holdings.look(ROOM, 0)

    def look(self):
        self.at += 90
        self.holdings.look(ROOM, sum(self.has.values()))
        if self.holdings.begin():
            self.holdings.counted(self.has)

    def store(self, account, size):
        if self.holdings.take(account, size):
            self.has[account] = self.has.get(account, 0) + size
            return True
        return False

    def flood(self, accounts):
        """Have these store as much as they can, for many hours."""
        for _ in range(2_000):
            for account in accounts:
                self.store(account, 8 * MIB)
            self.look()


@pytest.fixture
def stream():
    return Stream()


@pytest.mark.promise(56)
@pytest.mark.parametrize("count", [1, 2, 10, 60])
def test_whatever_number_takes_all_it_can_others_store_on(stream, count):
    stream.flood([f"m{number}" for number in range(count)])

    assert sum(stream.has.values()) < ROOM
    for _ in range(10):
        assert stream.store("laptop", MIB)
    assert not stream.store("m0", 64 * MIB)


def test_one_alone_stops_at_half(stream):
    stream.flood(["mallory"])
    assert ROOM * 0.49 < stream.has["mallory"] < ROOM * 0.51


def test_where_there_is_plenty_nobody_is_counted(stream):
    stream.has["laptop"] = ROOM // 3
    stream.look()
    assert not stream.holdings.begin()
    assert stream.store("laptop", MIB)


def test_whose_messages_have_gone_stores_again(stream):
    stream.flood(["mallory"])
    stream.has["other"] = stream.has.pop("mallory") - 100 * MIB
    stream.has["mallory"] = 100 * MIB
    stream.look()
    assert stream.store("mallory", MIB)


def test_what_is_stored_while_somebody_counts_is_in_it(stream):
    stream.holdings.look(ROOM, ROOM * 3 // 4)
    assert stream.holdings.begin()
    assert stream.holdings.take("mallory", ROOM // 13)
    stream.holdings.counted({})
    assert not stream.holdings.take("mallory", ROOM // 13)


def test_a_stream_that_took_long_to_count_is_counted_seldom(stream):
    stream.holdings.look(ROOM, ROOM * 3 // 4)
    assert stream.holdings.begin()
    stream.at += 30
    stream.holdings.counted({})
    stream.at += 599
    assert not stream.holdings.begin()
    stream.at += 2
    assert stream.holdings.begin()


def test_a_stream_without_a_limit_has_none(stream):
    stream.holdings.look(-1, ROOM)
    assert not stream.holdings.begin()
    assert stream.holdings.take("laptop", ROOM)
