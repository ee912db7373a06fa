# SPDX-License-Identifier: Apache-2.0
"""A stream for which there is no room just now, as where another session makes one as well."""

from types import SimpleNamespace

import pytest

from mcp_agentbus.bus.replies import NO_ROOM_TO_RESERVE, ApiError
from mcp_agentbus.errors import StoreFull
from mcp_agentbus.store import streams


@pytest.fixture
def tries(monkeypatch):
    """Have streams be missing, and what comes of each try to make one: None, or an error's code."""
    codes = []

    async def missing(*_):
        return "CREATE"

    async def set_up(*_):
        if code := codes.pop(0):
            raise ApiError(code)

    monkeypatch.setattr(streams, "_BESIDE_OTHERS_S", (0.0, 0.0))
    monkeypatch.setattr(streams, "_needed", missing)
    monkeypatch.setattr(streams, "_set_up", set_up)
    return codes


async def test_it_is_made_once_others_have_left_the_room(tries):
    tries += [NO_ROOM_TO_RESERVE, NO_ROOM_TO_RESERVE, None]
    await streams.ensure(SimpleNamespace(), streams.SETTINGS[0])

    assert tries == []


async def test_where_the_room_stays_taken_the_store_is_said_to_be_full(tries):
    tries += [NO_ROOM_TO_RESERVE] * 4

    own = SimpleNamespace(settings=SimpleNamespace(url=None))
    with pytest.raises(StoreFull):
        await streams.ensure(own, streams.SETTINGS[0])
    assert tries == [NO_ROOM_TO_RESERVE]
