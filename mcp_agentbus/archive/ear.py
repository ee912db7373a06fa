# SPDX-License-Identifier: Apache-2.0
"""Hears of records as they are written, once for all who read them.

    ear = Ear(bus)
    async with ear.heard(agents) as written:
        await next_of(written)

A sign says only that there is something to read: whoever hears it reads what is stored, and what
nobody has heard of is read at the next look.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Message
from mcp_agentbus.store import subjects

# A record is heard of before it is stored; many come at once.
_STORED_S: Final = 0.3
# How often one looks without having heard anything.
_LOOK_AGAIN_S: Final = 60.0
_RECORDS: Final = (subjects.record_subject, subjects.sent_subject, subjects.wakes_subject)


class Ear:
    """One connection's ear, for any number of readers at once."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        #: Whom to tell, by the agents that each wants to hear of.
        self._readers: dict[frozenset[str], set[asyncio.Event]] = {}
        self._subscribed: dict[frozenset[str], AsyncExitStack] = {}
        self._changing = asyncio.Lock()

    @asynccontextmanager
    async def heard(self, agents: Collection[str]) -> AsyncGenerator[asyncio.Event]:
        """Hear of the records that concern these agents: the event is set at each that is written.

        Raises:
            BusUnreachable, NotAllowed: as `Bus.subscribed`.
        """
        whose, written = frozenset(agents), asyncio.Event()
        async with self._changing:
            if whose not in self._subscribed:
                self._subscribed[whose] = await self._subscribe(whose)
            self._readers.setdefault(whose, set()).add(written)
        try:
            yield written
        finally:
            self._readers[whose].discard(written)
            async with self._changing:
                if not self._readers[whose] and whose in self._subscribed:
                    await self._subscribed.pop(whose).aclose()

    async def _subscribe(self, agents: frozenset[str]) -> AsyncExitStack:
        def arrived(_: Message | None) -> None:
            for written in self._readers.get(agents, ()):
                written.set()

        sides = [(each, "*") for each in agents] + [("*", each) for each in agents]
        async with AsyncExitStack() as stack:
            for subject in {record(*side, "*") for side in sides for record in _RECORDS}:
                await stack.enter_async_context(self._bus.subscribed(subject, arrived))
            return stack.pop_all()


async def next_of(written: asyncio.Event) -> None:
    """Wait until what was heard of can be read, or for a minute."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LOOK_AGAIN_S):
            await written.wait()
    await asyncio.sleep(_STORED_S)
