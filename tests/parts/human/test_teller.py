# SPDX-License-Identifier: Apache-2.0
"""When a person may be told: not twice in a minute, not in quiet hours, more rarely if in vain."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest

from mcp_agentbus.config.sections.human import Human
from mcp_agentbus.config.values import Hours
from mcp_agentbus.config.watcher import Watcher
from mcp_agentbus.human.book import Tap
from mcp_agentbus.human.teller import Teller

RING = Human(command=("ring",))


@pytest.fixture
def teller(settings):
    def make(human=RING):
        return Teller(None, Watcher(replace(settings, human=human)), None, print, frozenset)

    return make


def told(teller, ago, failures=0):
    at = datetime.now(UTC) - ago
    teller._book.taps, teller._book.failures = [Tap(at, "", not failures, "")], failures


def test_the_first_thing_is_told_at_once(teller):
    assert teller()._pause_s() <= 0


@pytest.mark.parametrize(
    ("ago", "failures", "minutes"),
    [(0, 0, 1), (2, 0, 0), (0, 1, 2), (0, 3, 8), (0, 30, 60), (-600, 0, 0)],
)
def test_the_next_waits_a_minute_and_longer_after_failures(teller, ago, failures, minutes):
    one = teller()
    told(one, timedelta(minutes=ago), failures)

    assert max(0, one._pause_s()) == pytest.approx(60 * minutes, abs=5)


def test_in_quiet_hours_it_waits_for_their_end(teller):
    now = datetime.now().astimezone()
    end = (now + timedelta(hours=2)).replace(second=0, microsecond=0)
    begin = (now - timedelta(hours=1)).time().replace(second=0, microsecond=0, tzinfo=None)
    quiet = replace(RING, quiet_hours=Hours(begin, end.time()))

    assert teller(quiet)._pause_s() == pytest.approx((end - now).total_seconds(), abs=5)
    over = replace(RING, quiet_hours=Hours(end.time(), begin if begin != end.time() else time(0)))
    assert teller(over)._pause_s() <= 0
