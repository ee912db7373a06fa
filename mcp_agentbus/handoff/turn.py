# SPDX-License-Identifier: Apache-2.0
"""One turn at the inbox: what its answer shows counts only if the answer arrives.

    async with Turn(session) as turn:
        return turn.show(await turn.take(look))

| a turn ends | tasks that it claimed               | results that it was to show     |
|-------------|-------------------------------------|---------------------------------|
| answered    | held, and shown                     | seen, once the next call comes  |
| failed      | held, and new in the next answer    | shown by a later answer         |
| cancelled   | given back at once, not an attempt  | shown by a later answer         |

One turn at a time: the next begins when all of that is done, so that no answer shows what is about
to be undone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from mcp_agentbus.core.aio import part
from mcp_agentbus.core.ids import Priority
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.handoff.outcomes import Shown
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store.task import Record, State, Task


@dataclass(frozen=True)
class Item:
    """A task as its reader gets it."""

    task: Task
    state: State
    #: Which attempt at the task this is; 0 for one that was only peeked at.
    attempt: int = 0
    #: Claimed by this very call.
    new: bool = False
    #: Who holds it: empty for this session, or for nobody if `state` is `stored`.
    holder: str = ""


@dataclass(frozen=True)
class Inbox:
    """An answer of the inbox."""

    tasks: tuple[Item, ...] = ()
    results: tuple[Record, ...] = ()
    #: Open tasks that no live session holds, by priority; a priority without any is left out.
    waiting: dict[Priority, int] | None = None
    #: Tasks of these inboxes that other live sessions hold, as far as that was looked at.
    held_elsewhere: int = 0
    #: Why something could not be read; empty if everything could.
    degraded: str = ""
    #: What else the reader should know, in this program's words.
    notes: tuple[str, ...] = ()
    #: Give it to the next call for what comes after; None if this is all.
    next_cursor: str | None = None
    #: Claims of this session, shown here or not.
    held: int = 0
    peeked: bool = False
    #: Only what belongs to this conversation is here; None for all.
    thread_id: str | None = None
    #: Results that are for other sessions, as far as that was looked at.
    results_elsewhere: int = 0
    #: As many results are shown as were asked for: there may be more.
    more_results: bool = False
    timed_out: bool = False

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not self.tasks and not self.results and not self.notes


class Turn:
    """A turn of one call of `session`, from when no other call is at it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._shown_before: Mapping[str, Shown] = {}
        self._looking: asyncio.Task[Inbox] | None = None

    async def __aenter__(self) -> Self:
        await self._session.lock.acquire()
        self._shown_before = dict(self._session.outcomes.shown)
        return self

    async def take(self, look: Coroutine[Any, Any, Inbox]) -> Inbox:
        """Carry out a look, which may claim; to its end, even if the call is cancelled."""
        self._looking = part(look)
        inbox = await asyncio.shield(self._looking)
        # A cancel of this very moment must be seen while the look can still be undone.
        await asyncio.sleep(0)
        return inbox

    def show(self, inbox: Inbox) -> Inbox:
        """Count what is in an answer as shown; nothing may come between this and its leaving."""
        if not inbox.peeked:
            self._session.claims.unshown.difference_update(item.task.id for item in inbox.tasks)
        return inbox

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, asyncio.CancelledError) and self._looking:
            self._session.finish_in_background(self._cancelled(self._looking))
            return
        if error:
            self._failed()
        self._session.lock.release()

    def _failed(self) -> None:
        # Its claims are among `claims.unshown` since they were made.
        self._session.outcomes.hide(self._shown_before)

    async def _cancelled(self, looking: asyncio.Task[Inbox]) -> None:
        try:
            await self._undo(await looking)
        except BaseException as error:
            self._failed()
            if not isinstance(error, AgentbusError):
                raise
        finally:
            self._session.lock.release()

    async def _undo(self, inbox: Inbox) -> None:
        """Give back what a cancelled call has taken: nobody was shown it."""
        claims, outcomes = self._session.claims, self._session.outcomes
        for item in inbox.tasks:
            claim = claims.get(item.task.id)
            if claim and item.new:
                reason = "the call that claimed it was cancelled"
                with suppress(AgentbusError):  # then it is offered again by itself
                    await claims.give_back(claim, counts=False, reason=reason)
        for record in inbox.results:
            with suppress(AgentbusError):
                await outcomes.unshow(record)
