# SPDX-License-Identifier: Apache-2.0
"""How long a worker waits for a bus that is away, and what its log says of that.

    waiting = Waiting(bus, Patience(), stopped)
    ...
    except BusUnreachable as error:
        await waiting.again(error)        # then the same call again
    else:
        waiting.over()

That there is a connection says little: a gate or JetStream may be away behind it. So it is back
when a call has succeeded, and not before.
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import suppress
from dataclasses import dataclass

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.errors import AgentbusError, BusUnreachable
from mcp_agentbus.work.log import note


@dataclass(frozen=True)
class Patience:
    """How long a worker waits for a bus that is away."""

    #: It is tried again for so long, in seconds, before that counts as a try.
    try_s: float = 2.0
    #: After so many tries it gives up.
    tries: float = math.inf


class Waiting:
    """The waiting of one who repeats a call until it succeeds."""

    def __init__(self, bus: Bus, patience: Patience, stopped: asyncio.Event) -> None:
        self._bus, self._patience, self._stopped = bus, patience, stopped
        self._tries = 0
        # Whether the call that failed last had the connection of the one before, and its end.
        self._had_one, self._until = False, 0.0
        #: Whether a call has failed, and none has succeeded since.
        self.is_on = False

    async def again(self, error: AgentbusError) -> None:
        """Wait until a call that has failed may be repeated: the first time as soon as that can be.

        Raises:
            BusUnreachable: the bus was closed, or the patience is at its end.
        """
        if not self.is_on:
            self.is_on = True
            note("away", logging.WARNING, why=error.message, hint=error.hint)
        elif self._had_one:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._until):
                    await self._stopped.wait()
            self._count(f"{error.message} {error.hint}")
        before = self._bus.connections
        while not await self._bus.reconnected(self._patience.try_s):
            self._count(self._bus.away_says)
        self._had_one = self._bus.connections == before
        self._until = asyncio.get_running_loop().time() + self._patience.try_s

    def over(self) -> None:
        """Take note that a call has succeeded."""
        if self.is_on:
            note("back")
        self.is_on, self._had_one, self._tries = False, False, 0

    def _count(self, says: str) -> None:
        self._tries += 1
        if self._tries >= self._patience.tries or self._stopped.is_set():
            raise BusUnreachable(f"The bus was tried {self._tries} times in vain: {says}")
