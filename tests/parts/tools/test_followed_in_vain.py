# SPDX-License-Identifier: Apache-2.0
"""Who follows an inbox is told that its bus is away, and is not left waiting for one that is shut."""

import pytest

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import NotAllowed
from mcp_agentbus.tools import follow as module
from mcp_agentbus.tools.follow import follow


class Away:
    """A bus that is reached at so many looks' end; or whose server lets this login in no more."""

    def __init__(self, looks, *, is_locked_out=False):
        self._looks, self.is_locked_out, self.away_says = looks, is_locked_out, "No server answers."

    async def reconnected(self, _):
        self._looks -= 1
        return self._looks < 0

    def subscribed(self, *_):
        return self

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass


class Following:
    """Who has one thing to tell as soon as the bus is reached."""

    def __init__(self, *_):
        pass

    async def prepare(self):
        pass

    async def news(self):
        yield "news"


@pytest.fixture
def first(monkeypatch):
    monkeypatch.setattr(module, "_Following", Following)

    async def first(bus):
        said = []
        events = follow(bus, Agent(id="coder"), say=said.append)
        try:
            await anext(events)
        finally:
            await events.aclose()
        return said

    return first


async def test_a_bus_that_is_away_is_told_once_and_once_that_it_is_back(first):
    away = "The bus is away, and looked for again and again: No server answers."

    assert await first(Away(0)) == []
    assert await first(Away(3)) == [away, "The bus is back."]


async def test_who_is_locked_out_waits_no_longer(first):
    """An account that was removed followed a silence for ever."""
    with pytest.raises(NotAllowed, match="No server answers"):
        await first(Away(99, is_locked_out=True))
