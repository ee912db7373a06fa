# SPDX-License-Identifier: Apache-2.0
"""What fault tests share: a session behind a proxy that can cut its connection, a small disk."""

import os
import subprocess
import sys
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from listeners import configure
from proxy import Proxy

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.session import Session


@pytest_asyncio.fixture
async def proxied(own_world):
    """A world, and a session of its `planner` that reaches the server through a proxy."""
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy(own_world.bus.settings))
        bus = await stack.enter_async_context(Bus.connect(proxy.settings))
        coder = await own_world.session("coder")
        planner = Session(bus, Agent(own_world.name("planner")))
        await stack.enter_async_context(planner)
        await planner.called()
        await planner.can_read()
        yield own_world, proxy, planner, coder


@pytest_asyncio.fixture
async def planner(tmp_path):
    """A session on a server of its own, whose listener starts nobody."""
    with embedded.ephemeral() as settings:
        configure(settings, tmp_path)
        async with Bus.connect(settings) as bus, Session(bus, Agent("planner")) as session:
            await session.called()
            yield session


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 48 MB."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root may mount a tmpfs")
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)]
    if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
