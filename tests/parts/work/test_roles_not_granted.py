# SPDX-License-Identifier: Apache-2.0
"""A worker that may not read the inbox of one of its roles says so, once."""

import asyncio

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.work import worker as module
from mcp_agentbus.work.worker import Worker


async def test_a_role_that_is_not_granted_is_noted_once_and_the_worker_goes_on(world, monkeypatch):
    worker = Worker(world.bus, Agent(world.name("coder"), roles=("review",)))
    worker.session.ungranted = frozenset({"review"})
    noted, looks, seen = [], [], asyncio.Event()

    async def look_after():
        looks.append(len(noted))
        if len(looks) == 3:
            seen.set()

    monkeypatch.setattr(module, "_LOOK_S", 0)
    monkeypatch.setattr(module, "note", lambda event, _, why: noted.append((event, why)))
    monkeypatch.setattr(worker, "_look_after", look_after)
    keeping = asyncio.create_task(worker._keep())
    await seen.wait()
    keeping.cancel()

    assert looks == [1, 1, 1]
    [(event, why)] = noted
    assert (event, "role:review is not read" in why) == ("aside", True)
