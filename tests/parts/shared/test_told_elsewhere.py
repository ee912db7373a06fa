# SPDX-License-Identifier: Apache-2.0
"""What a restore has yet to tell lies on the bus whole, or counts as not written."""

from __future__ import annotations

from functools import partial

import pytest

from mcp_agentbus.bus.replies import NO_SUCH_STREAM, ApiError
from mcp_agentbus.errors import StoreFull
from mcp_agentbus.shared.replacement import carried


async def test_a_note_is_read_as_it_was_written_however_long_and_is_gone_once_it_was_told(
    own_world, monkeypatch
):
    monkeypatch.setattr(carried, "_PART", 4)
    bus = own_world.bus
    assert await carried.all_of(bus) == {}
    await carried.forget(bus, ["before-0"])
    assert await carried.put(bus, "before-1.5", b"nine bytes")
    assert await carried.put(bus, "before-2", b"")
    await bus.publish("agentbus-before.broken-off.0", b"half", stream=carried.STREAM)

    assert await carried.all_of(bus) == {"before-1_5": b"nine bytes", "before-2": b""}
    await carried.forget(bus, ["before-1.5"])
    assert await carried.all_of(bus) == {"before-2": b""}
    await carried.forget(bus, ["before-2", "broken-off"])
    assert await carried.all_of(bus) == {}
    assert not (await bus.api("STREAM.NAMES"))["streams"]


class Refusing:
    """A server that answers each call so."""

    def __init__(self, error):
        self.error = error

    async def api(self, *_):
        raise self.error


async def test_a_bus_without_room_for_a_note_is_no_reason_not_to_restore_it(monkeypatch):
    async def full(*_):
        raise StoreFull

    monkeypatch.setattr(carried.streams, "ensure", full)
    assert not await carried.put(None, "before-1", b"x")


async def test_what_cannot_be_known_is_no_bus_without_notes():
    for ask in (carried.all_of, partial(carried.forget, notes=["before-1"])):
        await ask(Refusing(ApiError(NO_SUCH_STREAM)))
        with pytest.raises(ApiError):
            await ask(Refusing(ApiError(10008)))
