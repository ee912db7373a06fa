# SPDX-License-Identifier: Apache-2.0
"""A session that has called no tool yet: others find it, send to it, and it is told."""

from hooking import notice, session
from listeners import listening, on_roster, send

from mcp_agentbus import roster


async def test_it_can_be_sent_to_for_as_long_as_it_lives(house, planner, notes):
    async with listening(house) as listener, session(house, "new", notes) as (_, notices):
        await listener.logged("ready", agent="new")
        entry = await on_roster(planner, "new")
        [listed] = (await roster.page(planner.bus, query="new")).agents
        receipt = await send(planner, "new")
        told = await notice(notices)

    assert (entry.state, entry.hosts) == ("live session", ("claude-code",))
    assert listed.entry == entry
    assert (receipt.state, receipt.recipient) == ("stored", "live session")
    assert told.startswith("1 task waits in your agentbus inbox")


async def test_one_that_only_asked_for_the_tools_is_nobody(planner):
    assert await roster.look(planner.bus, "nobody") is None
    assert (await roster.page(planner.bus, query="nobody")).agents == ()
