# SPDX-License-Identifier: Apache-2.0
"""Whom a listener takes for its user's own agent on a bus with accounts: by account, not by name."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mcp_agentbus.core.notices import Counts
from mcp_agentbus.listener.state import State
from mcp_agentbus.store import roster
from mcp_agentbus.store.roster import Profile
from mcp_agentbus.wakes import demand
from mcp_agentbus.wakes.demand import Demand
from mcp_agentbus.wakes.facts import Waiting
from mcp_agentbus.wakes.ledger import Ledger


@pytest.fixture
def state(settings, tmp_path):
    """The state of a listener of alice's, on whose machine a planner has had a session."""
    ledger = Ledger(tmp_path / "ledger.sqlite3")
    ledger.remember("planner", "")
    alices = replace(settings, url="tls://bus.example:4222", account="alice")
    yield State(alices, None, ledger, lambda *_: None)
    ledger.close()


@pytest.mark.parametrize(
    ("account", "is_own"), [("alice", True), ("bob", False), ("", False), (None, False)]
)
async def test_a_name_that_is_not_of_this_account_is_no_own_agents(
    state, monkeypatch, account, is_own
):
    thing = Waiting("task coder 7f", "task", "7f", "planner", "planner", "coder", priority="high")

    async def look(*_):
        return Demand(Counts(high=1), (thing,))

    async def registration(_, who):
        now = datetime.now(UTC)
        return None if account is None else Profile(id=who, account=account, registered_at=now)

    monkeypatch.setattr(demand, "look", look)
    monkeypatch.setattr(demand, "look_for_urgent", look)
    monkeypatch.setattr(roster, "registration", registration)
    for looks in (state.look, state.look_for_urgent):
        await looks("coder")

        assert ("planner" in state.trusted()) == is_own
