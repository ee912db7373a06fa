# SPDX-License-Identifier: Apache-2.0
"""A look into the book that fails is its asker's failure, and the next one looks again."""

from __future__ import annotations

import pytest

from mcp_agentbus.core import aio
from mcp_agentbus.errors import BusUnreachable
from mcp_agentbus.gate.keeper import Keeper


class Away:
    """A bus that is away."""

    def __init__(self):
        self.looks = 0

    async def api(self, *_):
        self.looks += 1
        raise BusUnreachable


async def test_a_look_that_fails_is_told_to_who_asked_and_made_again_for_the_next():
    bus, failed = Away(), len(aio.failures)
    keeper = Keeper(bus)

    for _ in range(2):
        with pytest.raises(BusUnreachable):
            await keeper.look_up(["coder"])

    assert bus.looks == 2
    assert len(aio.failures) == failed
