# SPDX-License-Identifier: Apache-2.0
"""What goes on beside a session's calls while it lives: it says so, and keeps what it holds.

>>> keeper = in_background(keep(session), "keeper of session 3f7a")
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Protocol

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.aio import note_failure
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.handoff.claims import Claims
from mcp_agentbus.store import roster
from mcp_agentbus.store.task import CLAIM_MAX_S

_log = logging.getLogger(__name__)


class Kept(Protocol):
    """A session, as far as its keeper knows it."""

    bus: Bus
    me: Agent
    id: str
    claims: Claims
    #: Its `Outcomes`, which need not be known here.
    outcomes: Any
    #: By the monotonic clock.
    called_at: float

    @property
    def is_over(self) -> bool:
        """Whether it gives no sign of life any more."""

    async def register(self) -> None:
        """Say of its agent who that is, and that it was there."""


async def keep(session: Kept) -> None:
    """Say that a session lives, and keep what it holds, until it is over.

    It sees that by itself: a cancel may be lost, as by whoever catches it, and a session that is
    over and gives signs of life has its tasks for ever.
    """
    touched = time.monotonic()
    while not session.is_over:
        await asyncio.sleep(roster.BEAT_S)
        try:
            session.claims.on_way()  # what it holds is a cause still
            await _said_and_extended(session)
            if session.is_over:
                return
            if time.monotonic() - touched > roster.TOUCH_S:
                touched = time.monotonic()
                await session.register()
            if time.monotonic() - session.called_at > CLAIM_MAX_S:
                await session.claims.give_all_back("no call from its session for 2 hours")
            await session.outcomes.sent_records.again()
        except AgentbusError as error:
            _log.debug("keeper: %s", error.message)
        except Exception as error:  # noqa: BLE001  # a keeper that ends would lose every claim
            note_failure(f"keeper of session {session.id}", error)


async def _said_and_extended(session: Kept) -> None:
    if session.is_over:
        return
    await roster.beat(session.bus, session.me, session.id)
    kept = [claim.delivery for claim in session.claims.values()]
    kept += [taken.delivery for taken in session.outcomes.taken.values() if taken.delivery]
    for delivery in kept:
        if session.is_over:
            return
        await session.bus.extend(delivery)
