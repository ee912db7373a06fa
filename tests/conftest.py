# SPDX-License-Identifier: Apache-2.0
"""What tests share: a real server, sessions of agents that no other test knows."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
import served

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.session import Session

# A developer's own bus must never be touched by a test, nor say who the tests are.
for _variable in [name for name in os.environ if name.startswith("AGENTBUS_")]:
    if _variable.startswith("AGENTBUS_TEST_"):
        continue  # it says how the tests run, such as where node_tools keeps its programs
    del os.environ[_variable]


class World:
    """One bus with any number of agents on it."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self._suffix = uuid.uuid4().hex[:8]
        self._stack = AsyncExitStack()

    def name(self, agent: str) -> str:
        """Return an agent id that no other test uses."""
        return f"{agent}-{self._suffix}"

    async def session(self, agent: str, *, known: bool = True, **fields: object) -> Session:
        """Open a session; `known` registers its agent, as its first call would."""
        me = Agent(self.name(agent), **fields)
        session = await self._stack.enter_async_context(Session(self.bus, me))
        if known:
            await session.called()
            await session.can_read()
        return session

    async def another_bus(self) -> Bus:
        """Open one more connection to the same server, as another process would have."""
        return await self._stack.enter_async_context(Bus.connect(self.bus.settings))

    async def close(self) -> None:
        await self._stack.aclose()


@pytest.fixture(scope="session")
def home():
    """The settings of a private server that all tests share."""
    with embedded.ephemeral() as settings:
        yield settings


@pytest.fixture(scope="session", params=["alone", "relayed"])
def way(request, home):
    """Whether sessions and commands do their work themselves, or a listener does it for them."""
    if request.param == "alone":
        yield "alone"
        return
    listener = subprocess.Popen(
        [sys.executable, "-m", "mcp_agentbus", "listen"],
        env=served.environ(home.data_dir.parent),
        stderr=subprocess.PIPE,
    )
    assert b"listening" in listener.stderr.readline()
    drained = threading.Thread(target=listener.stderr.read)
    drained.start()
    yield "relayed"
    listener.terminate()
    drained.join()
    assert listener.wait(20) == 0
    listener.stderr.close()


@pytest_asyncio.fixture
async def world(home):
    """A bus on the shared server."""
    async with Bus.connect(home) as bus:
        world = World(bus)
        yield world
        await world.close()


@pytest_asyncio.fixture
async def own_world():
    """A bus on a server of its own, for tests that kill or fill it."""
    with embedded.ephemeral() as settings:
        async with Bus.connect(settings) as bus:
            world = World(bus)
            yield world
            await world.close()
