# SPDX-License-Identifier: Apache-2.0
"""A turn of a call at the inbox: what its answer gives counts only if the answer arrives.

    async with Turn(session, call) as turn:
        return turn.give(await turn.take(look))

Whatever a look takes is undone if nobody gets the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final, Self

from mcp_agentbus.bus.budget import apart
from mcp_agentbus.core.aio import part
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.handoff.call import Call, is_over
from mcp_agentbus.handoff.intake import arrivals
from mcp_agentbus.handoff.intake.answer import Inbox
from mcp_agentbus.handoff.session import Session

# What is asked for that at a call of whatever tool, which is to have its own time for itself.
_NOTED_WITHIN_S: Final = 0.5


async def note_what_arrived(session: Session, call: Call) -> None:
    """A session that calls again has got answers of its calls before, and what they gave."""
    async with session.lock:
        await session.outcomes.confirm(call)
        for claims in (session.claims, session.entrusted):
            await arrivals.confirm(session.bus, claims, call)


async def note_at_any_call(session: Session, call: Call, *, reads_on: bool = False) -> None:
    """Note the same by a call that may want nothing of the inbox, as far as that can be noted now.

    Where answers gave nothing that is to be noted, nobody is asked; and for no other call is waited
    then, nor for a bus that is away: it is given again. Where it `reads_on` in a task, whose text
    is counted by what is known of that, held tasks stay as they are.
    """
    held = () if reads_on else (session.claims, session.entrusted)
    given = any(result.given for result in session.outcomes.taken.values())
    is_any = given or any(map(arrivals.is_any, held))
    if not is_any or session.lock.locked() or not session.bus.is_connected:
        return
    with suppress(AgentbusError), apart(_NOTED_WITHIN_S):
        async with session.lock:
            await session.outcomes.confirm(call)
            for claims in held:
                await arrivals.confirm(session.bus, claims, call)


class Turn:
    """What one call does at the inbox.

    | a turn ends | tasks that it claimed               | results that it was to give   |
    |-------------|-------------------------------------|-------------------------------|
    | answered    | held, and given                     | seen, once it has arrived     |
    | failed      | held, and new in the next answer    | given by a later answer       |
    | cancelled   | given back at once, not an attempt  | given by a later answer       |

    One turn at a time: the next begins when all of that is done, so that no answer gives what is
    about to be undone, and nothing is given by two.
    """

    def __init__(self, session: Session, call: Call) -> None:
        self._session, self._call = session, call
        self._looking: asyncio.Task[Inbox] | None = None

    async def __aenter__(self) -> Self:
        await self._session.lock.acquire()
        try:
            self._session.see_open()
            if self._session.successor:
                raise is_over()
        except BaseException:
            self._session.lock.release()
            raise
        return self

    async def take(self, look: Coroutine[Any, Any, Inbox]) -> Inbox:
        """Carry out a look, which may claim; to its end, even if the call is cancelled."""
        self._looking = part(look)
        inbox = await asyncio.shield(self._looking)
        # A cancel of this very moment must be seen while the look can still be undone.
        await asyncio.sleep(0)
        return inbox

    def give(self, inbox: Inbox) -> Inbox:
        """Count what is in an answer as given; nothing may come between this and its leaving."""
        if not inbox.peeked:
            tasks = [item.task.id for item in inbox.tasks]
            self._session.claims.give(tasks, self._call)
            self._session.entrusted.give(tasks, self._call)
        self._session.outcomes.give(inbox.results, self._call)
        return inbox.lacking(self._session.ungranted)

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, asyncio.CancelledError) and self._looking:
            self._session.finish_in_background(self._cancelled(self._looking))
            return
        self._session.lock.release()

    async def _cancelled(self, looking: asyncio.Task[Inbox]) -> None:
        # What was taken before it failed is nobody's yet.
        with suppress(AgentbusError):
            try:
                await self._undo(await looking)
            finally:
                self._session.lock.release()

    async def _undo(self, inbox: Inbox) -> None:
        """Give back what a cancelled call has taken: nobody was given it."""
        claims, outcomes = self._session.claims, self._session.outcomes
        for item in inbox.tasks:
            claim = claims.get(item.task.id)
            if claim and item.new:
                reason = "the call that claimed it was cancelled"
                with suppress(AgentbusError):  # then it is offered again by itself
                    await claims.give_back(claim, counts=False, reason=reason)
        for record in inbox.results:
            with suppress(AgentbusError):
                await outcomes.give_back(record)
