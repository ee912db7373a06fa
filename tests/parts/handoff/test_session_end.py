# SPDX-License-Identifier: Apache-2.0
"""How long a session that ends waits for what its calls have left to do."""

import asyncio

from mcp_agentbus.handoff import session

HANG_S = 20  # only a hang takes as long


async def test_what_a_cancelled_call_leaves_to_do_holds_up_an_end_no_longer_than_a_host_waits(
    world, monkeypatch
):
    monkeypatch.setattr(session, "_END_TIMEOUT_S", 0.05)
    coder = await world.session("coder")
    done = asyncio.Event()
    coder.finish_in_background(done.wait())

    async with asyncio.timeout(HANG_S):
        await coder.undone()

    assert not done.is_set()
    done.set()
