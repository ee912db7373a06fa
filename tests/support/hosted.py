# SPDX-License-Identifier: Apache-2.0
"""A session as a listener hosts it, in this process, with an outbox and what empties it.

async with Hosted(settings, "planner") as laptop, laptop.forwarding():
await laptop.step("handed_on")
"""

import asyncio
import contextlib

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import watch_inbox
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.listener.outbox.forwarder import Forwarder
from mcp_agentbus.store.outbox.outbox import Outbox

_HANG_S = 60  # only a hang takes as long


class Hosted:
    """A session of a laptop as a listener would host it, and what empties its outbox."""

    def __init__(self, settings, agent):
        self.bus, self.outbox = Bus(settings), Outbox(settings)
        self.session = Session(self.bus, Agent(agent), outbox=self.outbox)
        self._steps = asyncio.Queue()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.session.close()
        await self.outbox.close()
        await self.bus.close()

    @contextlib.asynccontextmanager
    async def forwarding(self):
        """Hand on what is put there within the block."""
        forwarder = Forwarder(self.bus, self.outbox, self._steps.put_nowait)
        running = asyncio.create_task(forwarder.run())
        yield
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    async def step(self, word):
        """Wait for what the forwarder says; return it."""
        async with asyncio.timeout(_HANG_S):
            while word not in (step := await self._steps.get()):
                pass
            return step[word]


async def read_all(coder, count):
    """Claim so many tasks; return their ids in the order in which they were given."""
    got = []
    while len(got) < count:
        inbox = await watch_inbox(coder, timeout_s=_HANG_S, limit=count)
        assert not inbox.timed_out, f"{len(got)} of {count} came"
        got += [item.task.id for item in inbox.tasks if item.new]
    return got
