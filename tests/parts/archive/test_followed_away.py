# SPDX-License-Identifier: Apache-2.0
"""The tasks that are followed while their server is away: nobody starts it for that."""

from contextlib import asynccontextmanager

import pytest

from mcp_agentbus.archive.file import Archive
from mcp_agentbus.archive.follow import news
from mcp_agentbus.bus import address
from mcp_agentbus.config.settings import Keeps
from mcp_agentbus.errors import BusUnreachable, NotAllowed


class Going:
    """A bus whose server goes as soon as it was there; what uses it says whether it would start."""

    is_locked_out, away_says = False, "No server answers."

    def __init__(self, misses=0):
        self.would_start, self.connected, self.misses = [], 0, misses

    async def reconnected(self, _):
        if self.misses:
            self.misses -= 1
            return False
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
        await anext(news(bus, archive, ["coder"], 0, len))

    assert set(bus.would_start) == {False}
    assert address._MAY_START.get()


async def test_a_server_that_is_away_is_told_of_and_one_that_locks_out_ends_it():
    """`watch --follow` did; `audit --follow` and `export --follow` were silent for ever."""
    said, out = [], Going(99)
    out.is_locked_out = True
    with Archive(None, Keeps()) as archive:
        with pytest.raises(BusUnreachable, match="closed"):
            await anext(news(Going(2), archive, ["coder"], 0, said.append))
        with pytest.raises(NotAllowed, match="No server answers"):
            await anext(news(out, archive, ["coder"], 0, said.append))

    away = "The bus is away, and looked for again and again: No server answers."
    assert said == [away, "The bus is back."]
