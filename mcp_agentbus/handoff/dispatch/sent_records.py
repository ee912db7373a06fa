# SPDX-License-Identifier: Apache-2.0
"""What a session keeps of the tasks that it sends, written behind their receipts.

    sent_records.write_behind(stored)  # the receipt is given meanwhile
    await sent_records.settled()       # before whatever goes by what is kept

A receipt waits for one store, its task's. The record goes on by itself and is tried until it
stands. Whoever is killed before leaves the task without one; by the task itself it is made good.
"""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.aio import in_background, together
from mcp_agentbus.errors import AgentbusError, BusUnreachable, Refused, Unconfirmed
from mcp_agentbus.store import tasks
from mcp_agentbus.store.records import read_sent
from mcp_agentbus.store.task import Sent, Task
from mcp_agentbus.store.tasks import IdInUse, Kept
from mcp_agentbus.store.upkeep import lost
from mcp_agentbus.store.upkeep.unkept import Unkept

# In seconds: a slow disk may take 0.1. Of a server that hangs the call itself has to find out in
# its time, and what is not kept by then is found by the task.
_SETTLED_WITHIN_S: Final = 0.5
# In seconds: on its way to its reader a receipt takes about as long, by this same thread.
_RECEIPT_FIRST_S: Final = 0.001

_UNCONFIRMED: Final = (
    "What is kept of a task that was sent before goes first, and the bus server does not confirm "
    "it. Nothing was stored."
)


async def put(bus: Bus, task: Task) -> Kept | IdInUse:
    """Store a task, and then at once what is kept of it, as `tasks.put`.

    Raises: as that.
    """
    began = time.monotonic()
    kept = await tasks.put(bus, task)
    if isinstance(kept, Kept):
        with suppress(AgentbusError):  # both are written; `agentbus doctor` finds it
            await lost.end_if_late(bus, kept.sent, began)
    return kept


class SentRecords:
    """The records that one session has yet to write, and those that its agent's others have not."""

    def __init__(self, bus: Bus, me: str) -> None:
        self._bus, self._me = bus, me
        self._under_way: set[asyncio.Task[None]] = set()
        #: Those that a try could not write, by their task's id.
        self._missing: dict[str, Kept] = {}
        self._unkept = Unkept(bus)

    def write_behind(self, stored: Kept) -> None:
        """Write what is kept of a task that is stored, beside whatever follows."""
        name = f"record of task {stored.sent.task_id}"
        writing = in_background(self._first_try(stored), name)
        self._under_way.add(writing)
        writing.add_done_callback(self._under_way.discard)

    async def settled(self) -> None:
        """Wait until each record stands whose task's receipt was given, or was tried in vain."""
        if self._under_way:
            await asyncio.wait(set(self._under_way), timeout=_SETTLED_WITHIN_S)

    async def again(self) -> None:
        """Try once more to write what could not be written.

        Raises:
            AgentbusError: it cannot be written still.
        """
        missing = list(self._missing.values())
        await together(*(self._write(stored) for stored in missing))

    async def see_all_written(self) -> None:
        """See that what could not be written is by now: else what is sent next fares as badly.

        Raises:
            StoreFull, Refused, BusUnreachable, NotAllowed: it is not; nothing more was stored.
        """
        if not self._missing:
            return
        try:
            await self.again()
        except Unconfirmed:  # what it says of that would be read as said of this call
            raise BusUnreachable(_UNCONFIRMED) from None
        except AgentbusError as error:
            said = f"What is kept of a task that was sent before cannot be stored: {error.cause}"
            raise error.saying(f"{said} Nothing was stored.") from None

    async def look(self, pages: float = math.inf) -> bool:
        """Keep what is missing of what the agent has sent from here; tell whether anything was.

        Raises: as `Unkept.look`.
        """
        await self.settled()
        return bool(await self._unkept.look([self._me], pages))

    async def tried(self, pages: float) -> None:
        """Look like that, or leave it to the next look."""
        with suppress(AgentbusError):
            await self.look(pages)

    async def read(self, task_id: str) -> tuple[Sent | None, int]:
        """Return what is kept of a task that the agent has sent, as `read_sent`.

        Raises: as `read_sent`.
        """
        await self.settled()
        kept, revision = await read_sent(self._bus, self._me, "*", task_id)
        if kept is None and await self.look():
            return await read_sent(self._bus, self._me, "*", task_id)
        return kept, revision

    async def _first_try(self, stored: Kept) -> None:
        await asyncio.sleep(_RECEIPT_FIRST_S)
        try:
            await self._write(stored)
        except AgentbusError:
            self._missing[stored.sent.task_id] = stored

    async def _write(self, stored: Kept) -> None:
        if isinstance(await tasks.keep(self._bus, stored), Kept):
            with suppress(Refused):  # what follows must not wait for that, as it is written
                await lost.end_if_late(self._bus, stored.sent, stored.since)
        self._missing.pop(stored.sent.task_id, None)
