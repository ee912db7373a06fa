# SPDX-License-Identifier: Apache-2.0
"""Tasks for a worker: claimed as a reader's call claims them, and nothing else is taken.

    >>> [item] = await claim_next(session, 1)
    >>> item.task.subject
    'Count the tests'

The results of what its agent has sent stay for whoever has sent that: nobody reads them here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from mcp_agentbus.bus.budget import one_call
from mcp_agentbus.core.ids import LANES
from mcp_agentbus.handoff import lanes
from mcp_agentbus.handoff.beside import questions
from mcp_agentbus.handoff.session import Session, Turn
from mcp_agentbus.handoff.turn import Call, Inbox, Item, Watch
from mcp_agentbus.work.log import note

# As often as `watch_inbox` looks without being told to, and as soon after a notice that was too
# early.
_LOOK_AGAIN_S: Final = 5.0
_OVERTAKEN_S: Final = (0.1, 0.5)


async def claim_next(session: Session, limit: int) -> tuple[Item, ...]:
    """Wait until tasks are there, and claim up to `limit`: high before normal before low.

    Cancelled, it gives back what it has claimed.

    Raises: as `claim_waiting`.
    """
    overtaken: Iterator[float] = iter(())
    with session.watches.begun() as watch:
        while True:
            watch.clear()
            if items := await claim_waiting(session, limit):
                return items
            if await _is_told(watch, next(overtaken, _LOOK_AGAIN_S)):
                overtaken = iter(_OVERTAKEN_S)


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


async def _is_told(watch: Watch, within_s: float) -> bool:
    """Wait for a notice; tell whether one came."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await watch.wait()
            return True
    return False
