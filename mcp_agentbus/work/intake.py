# SPDX-License-Identifier: Apache-2.0
"""Tasks for a worker: claimed as a reader's call claims them, and nothing else is taken.

    >>> [item] = await claim_next(session, 1)
    >>> item.task.subject
    'Count the tests'

The results of what its agent has sent stay for whoever has sent that: nobody reads them here. Where
no bus answers, it is waited for.

    >>> waiting = Waiting(bus, Patience(tries=3), stopped)
    >>> await waiting.again(error)      # then the same call again
    >>> waiting.over()                  # it has succeeded
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import suppress
from dataclasses import dataclass

from mcp_agentbus.bus.budget import one_call
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import LANES
from mcp_agentbus.errors import AgentbusError, BusUnreachable
from mcp_agentbus.handoff.call import Call
from mcp_agentbus.handoff.intake import lanes
from mcp_agentbus.handoff.intake.answer import Inbox, Item
from mcp_agentbus.handoff.intake.turn import Turn
from mcp_agentbus.handoff.reports import questions
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.work.log import note


async def claim_next(session: Session, limit: int) -> tuple[Item, ...]:
    """Wait until tasks are there, and claim up to `limit`: high before normal before low.

    Cancelled, it gives back what it has claimed.

    Raises: as `claim_waiting`.
    """
    with session.watches.begun() as watch:
        while True:
            watch.clear()
            if items := await claim_waiting(session, limit):
                return items
            await watch.look_due()


@one_call
async def claim_waiting(session: Session, limit: int) -> tuple[Item, ...]:
    """Claim up to `limit` of the tasks that wait now.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`; what was claimed is returned by
            the next call.
    """
    await session.called()
    await session.can_read()
    with session.calls.within(None) as call:
        async with Turn(session, call) as turn:
            return turn.give(await turn.take(_claimed(session, limit, call))).tasks


async def _claimed(session: Session, limit: int, by: Call) -> Inbox:
    taken = await lanes.take(session, limit, LANES, session.claims.to_give(None)[:limit])
    for why in (*taken.notes, *filter(None, [taken.degraded])):
        note("aside", logging.WARNING, why=why)
    items = [
        Item(claim.task, claim.record.state, claim.record.attempts, new=not claim.found)
        for claim in taken.claims
    ]
    return Inbox(await questions.with_questions(session.bus, session.claims, by, items))


@dataclass(frozen=True)
class Patience:
    """How long a worker waits for a bus that is away."""

    #: It is tried again for so long, in seconds, before that counts as a try.
    try_s: float = 2.0
    #: After so many tries it gives up.
    tries: float = math.inf

    def is_over(self, tries: int) -> bool:
        """Tell whether it is at its end after so many."""
        return tries >= self.tries


class Repeated:
    """The waiting of one who repeats a call until it succeeds, and what the log says of that.

    That there is a connection says little: a gate or JetStream may be away behind it. So the bus is
    back when a call has succeeded, and not before.
    """

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
        if self._patience.is_over(self._tries) or self._stopped.is_set():
            raise BusUnreachable(f"The bus was tried {self._tries} times in vain: {says}")
