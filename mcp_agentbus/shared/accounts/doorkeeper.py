# SPDX-License-Identifier: Apache-2.0
"""Beside a gate: its server goes by who has joined, whoever changes that; the lobby is answered.

>>> keeping = in_background(keep_door(folder), "a gate's door")
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Message
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.shared.accounts import admin, store
from mcp_agentbus.shared.accounts.apply import apply
from mcp_agentbus.shared.accounts.lobby import opened
from mcp_agentbus.shared.accounts.record import ACCOUNTS

# Between two tries to be at the bus, and to have a server take what it did not, in seconds.
_PAUSE_S: Final = 0.5
_AGAIN_S: Final = 10.0

_log = logging.getLogger(__name__)


async def keep_door(folder: Path) -> None:
    """Do so for the server of a folder, until this is cancelled; a bus that is away is waited for.

    Raises:
        BadInput, BadSetup: it is no server's folder, or what opens the bus cannot be read.
    """
    settings = admin.settings(folder)
    admin.keys(folder)
    while True:
        try:
            async with Bus(settings) as bus:
                await _kept(bus, folder)
        except AgentbusError as error:
            _log.warning("%s It is tried again.", error.message)
            await asyncio.sleep(_PAUSE_S)


async def _kept(bus: Bus, folder: Path) -> None:
    await store.ensure(bus)
    changed = asyncio.Event()
    changed.set()  # what was changed while nobody was here

    def arrived(_: Message | None) -> None:
        changed.set()

    async with bus.subscribed(ACCOUNTS, arrived), opened(bus, folder):
        while True:
            await changed.wait()
            changed.clear()
            try:
                await apply(bus, folder)
            except AgentbusError as error:
                # As while somebody mends nats.conf: then it is taken without another change.
                _log.error("who has joined does not count yet: %s", error.message)
                await asyncio.sleep(_AGAIN_S)
                changed.set()
