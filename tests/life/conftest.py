# SPDX-License-Identifier: Apache-2.0
"""What tests of the listener share: a server of their own, a sender, a folder for recorders."""

import pytest
import pytest_asyncio
from doctors import own_server, shared_server

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.doctor import hosts
from mcp_agentbus.handoff.session import Session


@pytest_asyncio.fixture
async def planner(house):
    """A live session that sends."""
    async with Bus.connect(house) as bus, Session(bus, Agent("planner")) as session:
        await session.called()
        await session.can_read()
        yield session


@pytest.fixture
def notes(tmp_path):
    """Where recorders write what they were started with."""
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A server of one's own that runs, and no host."""
    monkeypatch.setattr(hosts, "HOSTS", {})
    with own_server(tmp_path) as settings:
        yield settings


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """The settings of a machine that uses a server for several, and has no host."""
    monkeypatch.setattr(hosts, "HOSTS", {})
    with shared_server(tmp_path) as settings:
        yield settings
