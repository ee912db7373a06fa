# SPDX-License-Identifier: Apache-2.0
"""How many wakes there were today, and of whom they are counted."""

from contextlib import closing
from dataclasses import replace

import pytest
from local_server import settings_at

from mcp_agentbus.core import text
from mcp_agentbus.core.ids import PROBE, Agent
from mcp_agentbus.overview import situation
from mcp_agentbus.wakes.ledger import Ledger


@pytest.mark.parametrize(
    ("woken", "known", "count"),
    [
        (["coder", "coder"], [], 2),
        ([f"{PROBE}1a2b-worker"], [], 0),
        ([f"{PROBE}portal", "coder"], [f"{PROBE}portal"], 2),  # a folder's own agent
    ],
)
def test_wakes_of_a_self_test_are_not_counted(tmp_path, woken, known, count):
    settings = replace(settings_at(tmp_path), agents={name: Agent(name) for name in known})
    settings.ledger_file.parent.mkdir(parents=True, exist_ok=True)
    with closing(Ledger(settings.ledger_file)) as ledger:
        for agent in woken:
            ledger.note(agent, "start", keys=(), senders=(), at=text.now())

    wakes, needs = situation._wakes_today(settings)

    assert (wakes.count, needs) == (count, ())
