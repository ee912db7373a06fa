# SPDX-License-Identifier: Apache-2.0
"""This user's own server is started again where it has ended by itself, by whoever is there.

    revival = Revival(bus.settings)
    await revival.run(came_back)                     # beside all else, until cancelled

After a reboot, and after a crash, nobody may type or call anything: what falls due then would lie.
A server that does not start, or that ends at once, is tried less and less often.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.own.files import Files
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core.aio import in_thread, note_failure
from mcp_agentbus.core.text import minute
from mcp_agentbus.errors import AgentbusError

# How often it is looked for, in seconds, which takes microseconds.
_LOOK_S: Final = 3.0
#: After each try in a row so long until the next one, in seconds.
PAUSES_S: Final = (5.0, 20.0, 60.0, 300.0)


class Revival:
    """Sees to it that the server runs which was used here, and which nobody has stopped.

    Args:
        settings: whose server; of a shared one others take care.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        #: Why it could not be started at the last try, and when the next one is; empty if it could.
        self.says = ""
        self._tries, self._next = 0, 0.0

    async def run(self, came_back: Callable[[], None] | None = None) -> None:
        """Look for it again and again, until cancelled; `came_back` is told of each start."""
        while not self._settings.url:
            try:
                if await self.look() and came_back:
                    came_back()
            except Exception as error:  # noqa: BLE001  # without it nobody would start it again
                note_failure("starter of the server", error)
                self._tried()
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> bool:
        """Start it if it has ended by itself, and it is not too soon; return whether it was."""
        if time.monotonic() < self._next:
            if Files(self._settings.data_dir).stopped.exists():  # then there is no next try
                self.says = ""
            return False
        try:
            server = await in_thread(embedded.again, self._settings)
        except AgentbusError as error:
            pause_s = self._tried()
            at = minute((datetime.now(UTC) + timedelta(seconds=pause_s)).isoformat())
            why = f"{error.message} {error.hint}".strip()
            self.says = f"It was started again in vain, and is tried next at {at}: {why}"
            return False
        self.says = ""
        if server:
            self._tried()
        return server is not None

    def _tried(self) -> float:
        """Take note of a try; return how long no other one is made, in seconds."""
        # One that has run for longer than any pause did not end at once.
        tries = 0 if time.monotonic() - self._next > PAUSES_S[-1] else self._tries
        pause_s = PAUSES_S[min(tries, len(PAUSES_S) - 1)]
        self._tries, self._next = tries + 1, time.monotonic() + pause_s
        return pause_s
