# SPDX-License-Identifier: Apache-2.0
"""Which agents die: their signs of life stop, though none of them said that it leaves.

    heartbeats = Heartbeats(bus, gone)       # async def gone(agent: str) -> None: ...
    await heartbeats.watch()                 # until it is cancelled

An agent is gone once the last of its sessions has not been heard of for 15 s, or its listener says
that it was killed. Of one that says goodbye, and of one that was never heard here, nothing is told;
while this process hears nothing itself, nobody dies.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Found, Message
from mcp_agentbus.core.aio import note_failure
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.store import roster, streams, subjects
from mcp_agentbus.store.queries.signs import decode_sign

#: Told of an agent that is gone, by its id.
OnGone = Callable[[str], Awaitable[None]]
# How often it is looked who was not heard of, in seconds.
_LOOK_S: Final = 1.0
# After so long without any sign, not even its own session's, it is this process that hears nothing.
_SILENT_S: Final = 2.0 * roster.BEAT_S


class Heartbeats:
    """The signs of life that are heard, and what became of those who gave them."""

    def __init__(self, bus: Bus, gone: OnGone) -> None:
        self._bus, self._gone = bus, gone
        #: When each session was heard of last, monotonic, by its agent and its id.
        self._heard_at: dict[tuple[str, str], float] = {}
        #: When any sign was heard, the own session's included: monotonic.
        self._hears_at = -math.inf
        self._changed = asyncio.Event()

    async def watch(self) -> None:
        """Hear who lives, and tell of who is gone; never returns.

        Raises:
            BusUnreachable: the bus was closed.
        """
        while True:
            with suppress(AgentbusError):
                async with self._bus.subscribed(subjects.heartbeat_subject("*", "*"), self._hear):
                    await self._look()
            while not await self._bus.reconnected(_LOOK_S):
                pass

    async def _look(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._changed.wait()
            self._changed.clear()
            for agent in self._dead(time.monotonic()):
                await self._tell(agent)

    def _dead(self, now: float) -> list[str]:
        """Forget the sessions that are gone; return the agents of which none is left."""
        if now - self._hears_at > _SILENT_S:
            return []
        gone = [key for key, at in self._heard_at.items() if now - at > streams.PRESENCE_S]
        for key in gone:
            del self._heard_at[key]
        living = {agent for agent, _ in self._heard_at}
        return [agent for agent in dict.fromkeys(agent for agent, _ in gone) if agent not in living]

    async def _tell(self, agent: str) -> None:
        try:
            await self._gone(agent)
        except Exception as error:  # noqa: BLE001  # theirs, and the next one is to be told of
            note_failure(f"on_gone of {agent}", error)

    def _hear(self, message: Message | None) -> None:
        if message is None:
            return
        try:
            beat = Found(message.subject, 0, datetime.now(UTC), {}, message.data)
            sign = decode_sign(beat)
        except ValueError:
            return
        if sign.kind != "session":
            return
        now, key = time.monotonic(), (sign.agent, sign.session)
        if now - self._hears_at > _SILENT_S:  # what came meanwhile is not known: all begin anew
            self._heard_at = dict.fromkeys(self._heard_at, now)
        self._hears_at = now
        if sign.leaving:
            self._heard_at.pop(key, None)
        elif not sign.gone:
            self._heard_at[key] = now
        elif key in self._heard_at:
            self._heard_at[key] = -math.inf
            self._changed.set()
