# SPDX-License-Identifier: Apache-2.0
"""What clients do for the bus where no gate stands: its streams, what falls due, room for more.

And what a gate alone does: it lets others have the names of which nothing is left.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.aio import note_failure
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.gate.book import Book
from mcp_agentbus.store.registered import forgotten
from mcp_agentbus.store.streams import ensure_streams
from mcp_agentbus.store.upkeep import room
from mcp_agentbus.store.upkeep.due import Due

# How often `Due` is asked, which knows when to look, in seconds.
_ROUND_S: Final = 1.0
# How often streams are looked at that nobody has missed, in seconds.
_LOOK_S: Final = 15.0
# How often it is looked for names of forgotten agents of which nothing is left, in seconds.
_FREE_S: Final = 3600.0


async def keep_up(bus: Bus, missed: asyncio.Event) -> None:
    """See to the bus until cancelled; `missed` is set where nobody took what was said."""
    due, looked = Due(bus), time.monotonic()
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(_ROUND_S):
                await missed.wait()
        is_due = missed.is_set() or time.monotonic() - looked > _LOOK_S
        missed.clear()
        try:
            if is_due:
                looked = time.monotonic()
                await ensure_streams(bus)
                if await room.is_short(bus):
                    await room.make_room(bus)
            await due.look()
        except (AgentbusError, TimeoutError):  # the next round does it
            await asyncio.sleep(_ROUND_S)
        except Exception as error:  # noqa: BLE001  # or nothing is seen to from then on
            note_failure("the upkeep of the bus", error)
            await asyncio.sleep(_ROUND_S)


async def free_names(bus: Bus, book: Book) -> None:
    """Free the names of forgotten agents, until cancelled."""
    while True:
        await asyncio.sleep(_FREE_S)
        try:
            for agent, revision in book.gone.items():
                await forgotten.free(bus, agent, revision)
        except (AgentbusError, TimeoutError):  # the next round does it
            pass
        except Exception as error:  # noqa: BLE001  # or no name is freed from then on
            note_failure("the names of forgotten agents", error)
