# SPDX-License-Identifier: Apache-2.0
"""A task at work: its handler is called, has so long, and ends once nobody wants it done.

    >>> await Job(item).outcome(handler, time_limit_s=1800)
    Result(status='completed', summary='', body='214 tests', artifacts=())

It knows no bus: what becomes of the outcome, and when a task is unwanted, its worker says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any, Final

from mcp_agentbus.core import text
from mcp_agentbus.core.aio import part
from mcp_agentbus.errors import BadInput
from mcp_agentbus.handoff.dispatch.cause import AT_WORK
from mcp_agentbus.handoff.intake.answer import Item
from mcp_agentbus.store.task import Task
from mcp_agentbus.work import result
from mcp_agentbus.work.log import note
from mcp_agentbus.work.result import NotBegun, Result

#: Does a task, and returns its result; a text is the body of one.
Handler = Callable[[Task], Awaitable[str | Result]]
_NOT_ASYNC: Final = "its handler is no async function, as it must be"
# A handler that was cancelled may take so long to end, in seconds: a program has 5 after SIGTERM.
_ENDS_WITHIN_S: Final = 10.0
# Until there may be room on the machine, in seconds: people make it, or what else runs there ends.
_AGAIN_S: Final = 30.0
_ROOM: Final = (
    "Free memory or disk space, or allow more processes or open files (ulimit -u, -n); {}."
)


@dataclass(eq=False)
class Job:
    """A task at work."""

    item: Item
    #: Set once nobody wants it done here any more: its handler is cancelled.
    unwanted: asyncio.Event = field(default_factory=asyncio.Event)
    #: Set once it is begun at the next try or not at all: who is told to end waits for no room.
    last: asyncio.Event = field(default_factory=asyncio.Event)
    #: Its end is about to be stored, so that its claim goes.
    is_ending: bool = False

    @property
    def task(self) -> Task:
        """What is done."""
        return self.item.task

    @property
    def is_word(self) -> bool:
        """Whether it wants no answer."""
        return self.task.expect == "nothing"

    async def outcome(self, handler: Handler, time_limit_s: float | None) -> Result | None:
        """Return what a handler makes of the task; None: it is not done here.

        It was cancelled, as nobody wants that, or could not begin at the last try.

        One that cannot begin is called again once there may be room. The task is held meanwhile:
        given back, it would come again at once, and each time count as an attempt.

        Cancelled, it ends the handler.
        """
        is_said = False
        while not self.unwanted.is_set():
            try:
                return await self._tried(handler, time_limit_s)
            except NotBegun as lacks:
                if not is_said:
                    then = f"it is tried again every {_AGAIN_S:.0f} s"
                    hint = _ROOM.format("it is given back" if self.last.is_set() else then)
                    note("short", logging.ERROR, task=self.task.id, why=str(lacks), hint=hint)
                is_said = True
            if await self._is_over():
                break
        return None

    async def _is_over(self) -> bool:
        """Wait until there may be room; tell whether it is not to be begun any more."""
        over = {part(event.wait()) for event in (self.unwanted, self.last)}
        try:
            await asyncio.wait(over, timeout=_AGAIN_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in over:
                waiting.cancel()
        return self.unwanted.is_set() or self.last.is_set()

    async def _tried(self, handler: Handler, time_limit_s: float | None) -> Result | None:
        """Call a handler, once.

        Raises:
            NotBegun: it says so.
        """
        work = part(_called(handler, self.task))
        work.add_done_callback(_seen)
        unwanted = part(self.unwanted.wait())
        try:
            await asyncio.wait(
                {work, unwanted}, timeout=time_limit_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            unwanted.cancel()
            in_time = work.done()
            if not in_time:
                await self._end(work)
        if in_time:
            return _outcome(work)
        if self.unwanted.is_set():
            return None
        limit = text.duration(time_limit_s or 0)
        return result.not_done(f"the handler did not end in {limit} and was cancelled")

    async def _end(self, work: asyncio.Task[Any]) -> None:
        """Cancel a handler; one that does not end all the same is left to itself."""
        work.cancel()
        await asyncio.wait({work}, timeout=_ENDS_WITHIN_S)
        if not work.done():
            note("hangs", logging.ERROR, task=self.task.id)


def check(handler: Handler) -> None:
    """See that something can be called, before it gets a task.

    Raises:
        BadInput: it cannot.
    """
    if not callable(handler):
        raise BadInput(
            f"The handler is of type {type(handler).__name__}, which cannot be called.",
            hint="Give the function itself: async def handler(task: Task) -> str | Result: ...",
        )


async def _called(handler: Handler, task: Task) -> Any:
    AT_WORK.set(task.id)  # in a context of its own
    answer = handler(task)
    # One that is not async holds up all else here, the keeping of its claim, too.
    return await answer if isawaitable(answer) else result.not_done(_NOT_ASYNC)


def _outcome(work: asyncio.Task[Any]) -> Result:
    """Return what has become of a task by what has become of its handler.

    Raises:
        NotBegun: nothing yet.
    """
    if work.cancelled():
        return result.of_error(asyncio.CancelledError())
    if error := work.exception():
        if isinstance(error, NotBegun):
            raise error
        logging.getLogger(__name__).error("a handler failed", exc_info=error)
        return result.of_error(error)
    return result.of_answer(work.result())


def _seen(work: asyncio.Task[Any]) -> None:
    """Have asyncio not complain of a failure of what was cancelled."""
    if not work.cancelled():
        work.exception()
