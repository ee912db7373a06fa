# SPDX-License-Identifier: Apache-2.0
"""By which clock the ledger lets go of wakes, and what becomes of those of one that was ahead."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from mcp_agentbus.listener.state import State
from mcp_agentbus.wakes import ledger as module
from mcp_agentbus.wakes.ledger import Ledger

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db")
    yield ledger
    ledger.close()


def note(ledger, at, ended_at=None):
    wake = ledger.note("coder", "start", keys=["task a"], senders=["planner"], at=at)
    if ended_at:
        ledger.ended(wake, at=ended_at, outcome="exited", said="")
    return wake


def left(ledger):
    return [row.id for row in reversed(ledger.latest("coder", 9))]


def test_of_wakes_that_are_over_those_go_that_are_30_days_older_than_the_latest(ledger):
    """Their numbers are not given again."""
    old, running = NOW - 31 * DAY, NOW - 40 * DAY
    note(ledger, running)
    note(ledger, old, old)
    note(ledger, NOW - 29 * DAY, NOW - 29 * DAY)
    note(ledger, NOW)
    assert ledger.tidy(NOW) == 0

    assert left(ledger) == [1, 3, 4]
    assert note(ledger, NOW) == 5


@pytest.mark.parametrize("ahead", [0 * DAY, 100 * DAY], ids=["right", "ahead by 100 days"])
def test_whoever_opens_it_takes_nothing_from_it_nor_does_a_clock_that_is_ahead(
    ledger, monkeypatch, ahead
):
    """A status that was looked at with such a clock removed all wakes for good."""
    note(ledger, NOW - DAY, NOW - DAY)
    note(ledger, NOW, NOW)
    ledger.close()

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return (NOW + ahead).astimezone(tz)

    monkeypatch.setattr(module, "datetime", Clock)
    assert left(ledger) == [1, 2]
    ledger.tidy(NOW + ahead)
    assert left(ledger) == [1, 2]


def test_wakes_of_a_clock_that_was_ahead_hold_their_agent_for_a_day_at_most(ledger):
    """They counted as of this moment until their time came, 30 days later."""
    now = datetime.now(UTC)
    note(ledger, now - HOUR, now + 30 * DAY)
    note(ledger, now + 30 * DAY, now + 30 * DAY)
    note(ledger, now + 30 * DAY)
    said = []
    state = SimpleNamespace(ledger=ledger, emit=lambda *event: said.append(event))
    for _ in range(2):
        State.tidy_ledger(state)

    assert [row.ended_at is None for row in ledger.latest("coder")] == [True, False, False]
    assert len(ledger.past("coder", now + HOUR)) == 3
    assert ledger.past("coder", now + 2 * DAY) == ()
    assert [(event, more["what"][:7]) for event, _, more in said] == [("ledger", "3 wakes")]


@pytest.mark.parametrize(
    ("at", "now"),
    [(NOW + timedelta(seconds=50), NOW), (NOW, datetime(1970, 1, 2, tzinfo=UTC))],
    ids=["some seconds", "a clock without a battery"],
)
def test_by_a_clock_that_is_hardly_or_surely_wrong_nothing_is_dated_anew(ledger, at, now):
    note(ledger, at, at)

    assert ledger.tidy(now) == 0
    assert ledger.latest("coder")[0].at == at
