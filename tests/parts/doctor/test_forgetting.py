# SPDX-License-Identifier: Apache-2.0
"""Agents that nobody is any more, as `doctor --fix` forgets them."""

from __future__ import annotations

import pytest
import pytest_asyncio
from planners_task import TASK
from server_stand_in import NOON

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.doctor.stored import registrations
from mcp_agentbus.errors import BusUnreachable, Refused
from mcp_agentbus.store import roster, streams
from mcp_agentbus.store.outbox.outbox import Envelope
from mcp_agentbus.tools import forget
from mcp_agentbus.tools.forget import is_wanted


@pytest_asyncio.fixture
async def kept(monkeypatch, world):
    """The senders of what is kept here for this bus."""
    kept = []

    async def kept_here(_, *, may_start=True, with_over=False):
        if not may_start and not kept:
            raise BusUnreachable
        return [
            Envelope(TASK.model_copy(update={"sender": sender}), 1, NOON, is_ours=True)
            for sender in kept
        ]

    await streams.ensure_streams(world.bus)
    monkeypatch.setattr(forget, "read_outbox", kept_here)
    monkeypatch.setattr(type(world.bus.settings), "keeps_outbox", True)
    return kept


async def test_whose_letters_are_kept_here_is_wanted(world, kept):
    agent = world.name("coder")
    unseen = await is_wanted(world.bus, agent)
    kept.append("other")
    others = await is_wanted(world.bus, agent)
    kept.append(agent)

    assert (unseen, others, await is_wanted(world.bus, agent)) == (False, False, True)


@pytest.mark.parametrize("refused", [(0,), (0, 2), ()])
async def test_one_that_is_not_forgotten_is_named_and_keeps_no_other(world, kept, refused):
    agents = [world.name(name) for name in ("ann", "ben", "cid")]
    for agent in agents:
        await roster.register(world.bus, Agent(agent), None)
    stay = [agents[each] for each in refused]
    kept += stay

    if stay:
        with pytest.raises(Refused, match=f"^{', '.join(stay)}: 1 task that {stay[0]} has sent"):
            await registrations._forget(agents, world.bus)
    else:
        await registrations._forget(agents, world.bus)

    assert await roster.registered(world.bus) & {*agents} == {*stay}
