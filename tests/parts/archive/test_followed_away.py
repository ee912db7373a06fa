# SPDX-License-Identifier: Apache-2.0
"""The tasks that are followed while their server is away: nobody starts it for that."""

from contextlib import asynccontextmanager

import pytest

from mcp_agentbus.archive.file import Archive
from mcp_agentbus.archive.follow import news
from mcp_agentbus.bus import address
from mcp_agentbus.config.settings import Keeps
from mcp_agentbus.errors import BusUnreachable


class Going:
    """A bus whose server goes as soon as it was there; what uses it says whether it would start."""

    def __init__(self):
        self.would_start, self.connected = [], 0

    async def reconnected(self, _):
        self.connected += 1
        if self.connected > 2:
            raise BusUnreachable("This bus was closed.", hint="Open another.")
        return True

    @asynccontextmanager
    async def subscribed(self, *_):
        self.would_start.append(address._MAY_START.get())
        yield

    async def api(self, _):
        self.would_start.append(address._MAY_START.get())
        raise BusUnreachable("It was stopped.", hint="Start it.")


async def test_a_server_that_was_stopped_stays_so_for_whoever_follows_and_others_may_start_it():
    bus = Going()
    with Archive(None, Keeps()) as archive, pytest.raises(BusUnreachable, match="closed"):
        await anext(news(bus, archive, ["coder"], 0))

    assert set(bus.would_start) == {False}
    assert address._MAY_START.get()
