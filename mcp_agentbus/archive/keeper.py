# SPDX-License-Identifier: Apache-2.0
"""Keep the archive up to date while a listener runs.

    keeper = Keeper(bus, watcher, Ear(bus), emit=log)
    await keeper.run()

It hears that a record was written, and reads it then: so the archive has the texts of tasks that
are gone from the bus a moment later. What it does not hear of is read at the next look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from mcp_agentbus.archive.catch_up import catch_up
from mcp_agentbus.archive.ear import Ear, next_of
from mcp_agentbus.archive.file import Archive
from mcp_agentbus.archive.kept.sides import users
from mcp_agentbus.bus.address import start_no_server
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.config.watcher import Watcher
from mcp_agentbus.core.aio import note_failure
from mcp_agentbus.errors import AgentbusError, ArchiveBroken, BadSetup

# How long one attempt to reach the bus takes.
_RECONNECT_S: Final = 60.0
# An archive that is broken, or switched off, is looked at again after this long.
_OPEN_AGAIN_S: Final = 10.0


class Keeper:
    """Has the archive know what the bus knows."""

    def __init__(
        self, bus: Bus, watcher: Watcher, ear: Ear, emit: Callable[[Mapping[str, Any]], None]
    ) -> None:
        self._bus, self._watcher, self._ear, self._emit = bus, watcher, ear, emit
        #: Why it cannot be written; empty if it can, or is not to be.
        self.says = ""

    async def run(self) -> None:
        """Keep it up to date until cancelled."""
        start_no_server()
        while True:
            settings = self._watcher.settings
            try:
                if settings.archive.enabled:
                    with Archive(settings.archive_file, settings.archive) as archive:
                        await self._keep(archive, settings)
                        continue
                self.says = ""
            except ArchiveBroken as error:
                self._became_broken(error.message)
            except BadSetup as error:
                self._became_broken(f"{error.message} {error.hint}")
            except (AgentbusError, TimeoutError):
                pass  # the bus is away, of which the loop tells
            except Exception as error:  # noqa: BLE001  # without it the archive would end unseen
                note_failure("keeper of the archive", error)
            await asyncio.sleep(_OPEN_AGAIN_S)

    async def _keep(self, archive: Archive, settings: Settings) -> None:
        """Keep one file up to date, until the user wants another one, or has other agents."""
        agents = users(settings)
        while not await self._bus.reconnected(_RECONNECT_S):
            pass
        async with self._ear.heard(agents) as written:
            while settings.archive == self._watcher.settings.archive and agents == users(
                self._watcher.settings
            ):
                written.clear()
                await catch_up(self._bus, archive, agents)
                self.says = ""
                await next_of(written)

    def _became_broken(self, why: str) -> None:
        """Remember, and say once, that it cannot be written."""
        if why != self.says:
            self.says = why
            self._emit({"error": why})
