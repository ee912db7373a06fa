# SPDX-License-Identifier: Apache-2.0
"""The calls of a session that wait for something to come in, and hear where it did.

>>> with watches.begun() as watch:
...     await watch.look_due()
frozenset({'high'})

And how whoever waits, or follows something, waits for a bus that is away.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.errors import BusUnreachable, NotAllowed

#: How often one who waits looks without being told to: a dead session's claims come back silently.
LOOK_AGAIN_S: Final = 5.0
# How soon after a notice by which a look found nothing: it may overtake what the server hands out.
_OVERTAKEN_S: Final = (0.1, 0.5)
# How long one look for a server may take that has gone, in seconds; then comes the next.
_RECONNECT_S: Final = 60.0
# And the first one, after which it is said: a restart takes no longer.
_FIRST_S: Final = 5.0


class Watch:
    """What came in since a waiting call looked last: where, never what."""

    def __init__(self) -> None:
        self._places: set[str] = set()
        self._came = asyncio.Event()
        #: After how many seconds the next looks are due; behind these, `LOOK_AGAIN_S`.
        self._soon: Iterator[float] = iter(())

    def note(self, places: Iterable[str]) -> None:
        """Note that something came in there."""
        self._places.update(places)
        self._came.set()

    def clear(self) -> None:
        """Forget what came in: a look at it follows."""
        self._places.clear()
        self._came.clear()

    async def wait(self) -> frozenset[str]:
        """Wait until something has come in; return where."""
        await self._came.wait()
        return frozenset(self._places)

    async def look_due(self, within_s: float = math.inf) -> frozenset[str]:
        """Wait until it is time to look; return where something came in, which may be nowhere."""
        came_in = await _came_in(self, min(within_s, next(self._soon, LOOK_AGAIN_S)))
        if came_in:
            self._soon = iter(_OVERTAKEN_S)
        return came_in


class Watches:
    """The calls of a session that wait: the last hears first, others may have been given up."""

    def __init__(self) -> None:
        self._all: list[Watch] = []

    @property
    def count(self) -> int:
        """How many wait."""
        return len(self._all)

    @contextmanager
    def begun(self) -> Generator[Watch]:
        """Have one more call wait."""
        watch = Watch()
        self._all.append(watch)
        try:
            yield watch
        finally:
            self._all.remove(watch)

    def note(self, *places: str) -> None:
        """Note that something came in there."""
        for watch in reversed(self._all):
            watch.note(places)


async def _came_in(watch: Watch, within_s: float) -> frozenset[str]:
    """Wait for a notice; return where something came in, which is nowhere if the time is over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            return await watch.wait()
    return frozenset()


async def back(bus: Bus, within_s: float) -> None:
    """Wait for the bus; whoever is not let in there any more does not wait on.

    Raises:
        AgentbusError: there is no connection, and why.
    """
    if not await bus.reconnected(within_s, if_let_in=True):
        raise bus.away or BusUnreachable()


async def reached(bus: Bus, say: Callable[[str], None]) -> None:
    """Wait until the server is reached, which starts none; whoever waits long is told why.

    Raises:
        BusUnreachable: as `Bus.reconnected`.
        NotAllowed: the server takes this login no more, which no waiting mends.
    """
    is_said = False
    while not await bus.reconnected(_RECONNECT_S if is_said else _FIRST_S):
        if bus.is_locked_out:
            raise NotAllowed(f"The bus is not to be followed any more: {bus.away_says}")
        if not is_said:
            say(f"The bus is away, and looked for again and again: {bus.away_says}")
        is_said = True
    if is_said:
        say("The bus is back.")


def unsaid(_: str) -> None:
    """Say nothing: for a program that only wants to know when it is over."""
