# SPDX-License-Identifier: Apache-2.0
"""A listener's state, beside what each test puts around it."""

import pytest

from mcp_agentbus.listener.state import State
from mcp_agentbus.wakes.ledger import Ledger


@pytest.fixture
def events():
    """What a listener has logged, by the event's name."""
    return []


@pytest.fixture
def state_on(settings, tmp_path, events):
    """Make the state of a listener on a bus, with these settings, else with the test's."""
    ledger = Ledger(tmp_path / "ledger.sqlite3")

    def made(bus, with_settings=settings, emit=lambda event, *_: events.append(event)):
        return State(with_settings, bus, ledger, emit)

    yield made
    ledger.close()
