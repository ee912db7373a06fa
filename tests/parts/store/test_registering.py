# SPDX-License-Identifier: Apache-2.0
"""A registration is written where it says something that stands there not yet."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.core.text import now
from mcp_agentbus.store import records, roster, streams


@pytest.fixture
async def coder(world):
    """An agent that was registered this moment."""
    coder = Agent(world.name("coder"), host="python", description="Codes", roles=("dev",))
    await streams.ensure_streams(world.bus)
    await roster.register(world.bus, coder, now())
    return coder


async def _revision(world, agent):
    return (await records.read(world.bus, roster._profile_key(agent.id)))[1]


async def test_one_that_comes_again_at_once_is_not_stored_again(world, coder):
    before = await _revision(world, coder)

    await roster.register(world.bus, coder, now() + timedelta(seconds=29))
    await roster.register(world.bus, replace(coder, description="", roles=()), now())
    await roster.register(world.bus, coder, None)

    assert await _revision(world, coder) == before


async def test_one_that_was_never_there_and_comes_again_is_not_stored_again(world):
    coder = Agent(world.name("coder"), host="python")
    await streams.ensure_streams(world.bus)
    await roster.register(world.bus, coder, None)
    before = await _revision(world, coder)

    await roster.register(world.bus, coder, None)

    assert await _revision(world, coder) == before


@pytest.mark.parametrize(
    "change",
    [{"description": "Tests"}, {"roles": ("qa",)}, {"host": "cursor"}, {"accept_from": ("ann",)}],
)
async def test_whatever_is_new_of_it_is_stored(world, coder, change):
    changed = replace(coder, **change)

    await roster.register(world.bus, changed, now())

    entry = await roster.look(world.bus, coder.id)
    assert (entry.description, entry.roles, entry.accept_from, changed.host in entry.hosts) == (
        changed.description, changed.roles, changed.accept_from, True,
    )  # fmt: skip


async def test_when_its_agent_was_there_is_stored_also_where_the_clock_was_set_back(world, coder):
    seen = []
    for before_s in (100, 50, 400):
        at = now() - timedelta(seconds=before_s)
        await roster.register(world.bus, coder, at)
        seen.append((await roster.look(world.bus, coder.id)).last_seen - at)

    assert seen == [timedelta(0)] * 3


async def test_what_another_account_has_registered_is_the_gates_to_judge(world, coder):
    theirs, at = await records.read(world.bus, roster._profile_key(coder.id))
    of_others = theirs.model_copy(update={"account": "ann"})
    await records.write(world.bus, roster._profile_key(coder.id), of_others, at)
    before = await _revision(world, coder)

    await roster.register(world.bus, coder, now())

    assert await _revision(world, coder) > before
