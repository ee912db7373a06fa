# SPDX-License-Identifier: Apache-2.0
"""A stream for which there is no room just now, as where another session makes one as well."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from mcp_agentbus.bus.replies import NO_ROOM_TO_RESERVE, ApiError
from mcp_agentbus.errors import BusUnreachable, StoreFull
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


@pytest.mark.parametrize(
    ("url", "widened", "is_made"),
    [
        (None, [True], True),
        (None, [True, True], False),
        (None, [False], False),
        (None, [BusUnreachable("It did not start.")], False),
        ("nats://shared", [], False),
    ],
)
async def test_one_that_began_on_a_nearly_full_disk_is_started_anew_once_for_what_is_missing(
    tries, monkeypatch, url, widened, is_made
):
    """Nothing went on there, though the disk had room again: no stream could be made."""

    def widen(settings):
        assert settings is own.settings
        left.append(widened[0])
        if isinstance(widened[0], Exception):
            raise widened[0]
        return widened[0]

    async def all_missing(*_):
        return [None] * len(streams.SETTINGS)

    async def nothing(*_):
        return None

    left = []
    own = SimpleNamespace(settings=SimpleNamespace(url=url, account=None), on_missing=None)
    monkeypatch.setattr(streams.disk, "widen", widen)
    monkeypatch.setattr(streams, "_room", lambda _: 0)
    monkeypatch.setattr(streams, "_all_here", all_missing)
    monkeypatch.setattr(streams, "_config", nothing)
    monkeypatch.setattr(streams, "_grow", nothing)
    tries += [NO_ROOM_TO_RESERVE] * 3 * max(1, len(widened))
    tries += [None] * len(streams.SETTINGS) * is_made
    with nullcontext() if is_made else pytest.raises(StoreFull):
        await streams.ensure_streams(own)

    assert (tries, left, own.on_missing is not None) == ([], widened[:1], is_made)
