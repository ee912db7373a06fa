# SPDX-License-Identifier: Apache-2.0
"""By which clock it is said until when a wake would be held."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from mcp_agentbus.config.rules import Rules
from mcp_agentbus.overview import policy
from mcp_agentbus.tools.answers.words import clock
from mcp_agentbus.wakes.ledger import Ledger


@pytest.mark.parametrize("by", [timedelta(0), timedelta(hours=2)])
def test_a_wake_is_held_by_this_machines_clock_as_its_listener_holds_it(tmp_path, by):
    """The ledger's times are this machine's, whatever the clock of the bus server says."""
    rules = Rules("coder", "command", tmp_path, "answer", command=("true",))
    now = datetime.now(UTC)
    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        for number in range(rules.limits.per_sender_hour):
            ledger.note(
                "coder", "process", keys=[f"task coder {number}"], senders=["planner"], at=now
            )
    settings = SimpleNamespace(
        rules={"coder": rules}, ledger_file=tmp_path / "ledger.db", url=None
    )  # fmt: skip
    here = SimpleNamespace(settings=settings, now=now + by)

    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        asked = policy._Asked(here, "planner", "coder", ledger)
        until = policy._until(asked, "coder", "high")

    assert until == clock(now + timedelta(hours=1), now)
