# SPDX-License-Identifier: Apache-2.0
"""What is said where this user's own server has no room for a letter."""

from __future__ import annotations

import pytest

from mcp_agentbus.bus import said
from mcp_agentbus.bus.own import disk
from mcp_agentbus.errors import StoreFull
from mcp_agentbus.store.outbox import own


@pytest.mark.parametrize(
    ("why", "has_room", "is_full"),
    [
        ("no space left on device", True, True),
        ("", False, True),
        ("", True, False),
        (said.READ_ONLY_HERE, False, False),  # as in a sandbox: it says nothing of room
        (said.READ_ONLY, False, False),
        ("permission denied", False, False),
    ],
)
def test_a_disk_is_said_to_be_full_where_it_is_and_not_where_nothing_may_be_written(
    settings, monkeypatch, why, has_room, is_full
):
    monkeypatch.setattr(disk, "write_error", lambda _: why)
    monkeypatch.setattr(disk, "has_room", lambda _: has_room)
    of_server = StoreFull("The bus server cannot write.", hint="Run `agentbus doctor`.")

    told = own._of_this_machine(of_server, settings)

    assert ("This machine's disk is full" in told.message) is is_full
    assert (told is of_server) is not is_full
