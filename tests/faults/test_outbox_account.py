# SPDX-License-Identifier: Apache-2.0
"""An account of a shared server whose gate is away: what it sends meanwhile, and what comes of it."""

import pytest
from gated import gate_of, joined, ungated
from hosted import Hosted, read_all

from mcp_agentbus.bus import budget
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session

HANG_S = 60  # only a hang takes as long


async def test_what_the_gate_refuses_later_is_told_and_holds_back_its_sender_alone(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(budget, "CALL_S", 0.8)
    monkeypatch.setattr(budget, "_ANSWERS_WITHIN_S", 0.8)
    with ungated(tmp_path, laptop=[], vps=[]) as shared:
        mine, theirs = shared.settings("laptop"), shared.settings("vps")
        await joined(shared.admin, {"laptop": [], "vps": []})
        private = Agent("private", accept_from=("coder",))
        async with Bus(theirs) as bus, Session(bus, Agent("coder")) as coder:
            async with gate_of(shared.admin), Session(bus, private) as other:
                await read_inbox(coder)
                await read_inbox(other)
            async with Hosted(mine, "planner") as laptop:
                fine = await _kept(laptop.session, "coder")
                unknown = await _kept(laptop.session, "nobody")
                refused = await _kept(laptop.session, "private")
                # A name that is the other account's, which nobody could say while the gate was away.
                taken = Session(laptop.bus, Agent("coder"), outbox=laptop.outbox)
                held = await _kept(taken, "private")

                async with gate_of(shared.admin):
                    async with laptop.forwarding():
                        assert await laptop.step("handed_on") == 3
                        assert "another account" in (await laptop.step("error")).lower()
                    told = {}
                    while len(told) < 2:
                        news = await watch_inbox(laptop.session, timeout_s=HANG_S)
                        told |= {each.task_id: each for each in news.results}
                    assert await read_all(coder, 1) == [fine]
                [waits] = await laptop.outbox.waits()

    assert waits.task.id == held
    assert {told[unknown].state, told[refused].state} == {"rejected"}
    assert "No agent 'nobody' is registered" in told[unknown].reason
    assert "private takes tasks of coder only" in told[refused].reason


async def _kept(session, to):
    [receipt] = await send_task(session, to, "Count", "x")
    assert receipt.state == "stored_here"
    return receipt.task_id


pytestmark = pytest.mark.timeout(120)
