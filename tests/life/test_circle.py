# SPDX-License-Identifier: Apache-2.0
"""Agents that wake each other in a circle come to an end, and the last one reads why."""

import sys
from pathlib import Path

import pytest
import served
from listeners import configure, known, listening, starts

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store.task import HOPS_MAX

_PASSER = str(Path(__file__).parents[1] / "support" / "passer.py")
RING = ("a", "b", "c")


@pytest.mark.promise(36)
@pytest.mark.parametrize("mode", ["pass", "finish"])
async def test_a_circle_of_woken_agents_ends_at_the_hop_limit(tmp_path, mode):
    with embedded.ephemeral() as settings:
        configure(settings, tmp_path, **{
            agent: {"command": passer(tmp_path, following, mode)}
            for agent, following in zip(RING, (*RING[1:], RING[0]), strict=True)
        })  # fmt: skip
        async with Bus.connect(settings) as bus, Session(bus, Agent("a")) as first:
            await known(first, "b")
            await send_task(first, "b", "Pass it on", "x", priority="high")
        # Beside a session of its own that lives, `a` would not be started.
        async with listening(settings) as listener:
            for _ in range(HOPS_MAX + 1):
                await listener.logged("ended", outcome="exited")
            await listener.end()

    passed = starts(tmp_path)
    assert [one["agent"] for one in passed] == list("bcabcab")
    assert [one["sent"] for one in passed] == [0] * HOPS_MAX + [1]
    assert f"the limit is {HOPS_MAX} hand-offs. Nothing was sent." in passed[-1]["said"]
    assert "Hint: " in passed[-1]["said"]


def passer(notes, following, mode):
    return [sys.executable, "-S", _PASSER, str(notes), following, mode, served.PACKAGE]
