# SPDX-License-Identifier: Apache-2.0
"""Work that goes on beside other work: begun here alone, and never ended unseen.

    >>> await together(read("coder"), read("role-review"))
    [3, 1]
    >>> await both(read("coder"), listed())
    (3, ['coder', 'planner'])

`asyncio.gather` returns at the first failure while the others go on; a process that ends then
complains about them, and a caller who tries again competes with them. `together` and `both` may
stand in each other: all that they are given is begun by the call.

    >>> keeper = in_background(keep(), "keeper of 3f7a")    # nobody awaits it
    >>> looking = part(look())                              # its caller does

Of a task that nobody awaits asyncio keeps no reference, and says that it failed when its memory is
collected, or never. So all are begun here: what fails in the background is logged, and among
`failures` until the process ends.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final, ParamSpec, TypeVar, cast

from mcp_agentbus.core.children import threads
from mcp_agentbus.core.children.descriptors import NONE_LEFT, are_gone
from mcp_agentbus.core.programs import OWN

_P = ParamSpec("_P")
_T = TypeVar("_T")
_A = TypeVar("_A")
_B = TypeVar("_B")

_FAILURES_MAX: Final = 20
# Questions to a server at once: as many as it answers in about the time of one.
_AT_ONCE: Final = 50

#: What failed in the background of this process, the latest last: `NAME: ERROR at FILE:LINE`.
failures: Final[deque[str]] = deque(maxlen=_FAILURES_MAX)
_running: Final[set[asyncio.Task[Any]]] = set()

_log = logging.getLogger(__name__)
_PACKAGE: Final = os.path.join(OWN, "mcp_agentbus")  # noqa: PTH118  # as frames name files


def in_background(work: Coroutine[Any, Any, _T], name: str) -> asyncio.Task[_T]:
    """Begin work that goes on by itself; whatever it raises is logged and among `failures`."""
    task = asyncio.create_task(work, name=name)
    _running.add(task)
    task.add_done_callback(_ended)
    return task


def part(work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
    """Begin a part of the caller's own work: the caller awaits it, and sees what it raises."""
    return asyncio.create_task(work)


def note_failure(name: str, error: BaseException) -> None:
    """Log what failed in the background, and keep it for whoever asks how this process stands."""
    kind = NONE_LEFT if are_gone(error) else type(error).__name__
    failures.append(f"{name}: {kind}{_place(error)}")
    _log.error("%s failed", name, exc_info=error)


async def guarded(work: Awaitable[None], name: str) -> None:
    """Do a part of what goes on in the background; that goes on though this fails, which is noted.

    The caller's own end is none of it.
    """
    try:
        await work
    except Exception as error:  # noqa: BLE001  # whatever it is, the rest is done
        note_failure(name, error)


def _place(error: BaseException) -> str:
    """Return where in this program it was raised, innermost: no log may be kept that has it."""
    place, at = "", error.__traceback__
    while at:
        file = at.tb_frame.f_code.co_filename
        if file.startswith(_PACKAGE + os.sep):
            place = f" at {os.path.relpath(file, os.path.dirname(_PACKAGE))}:{at.tb_lineno}"  # noqa: PTH120
        at = at.tb_next
    return place


def _ended(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()):
        note_failure(task.get_name(), error)


def together(*work: Awaitable[_T]) -> Coroutine[Any, Any, list[_T]]:
    """Return all outcomes in order, or raise the first failure once all have ended.

    All are begun by the call: what waits for them may be cancelled before its own first step, and
    asyncio would complain of work that nobody has begun.
    """
    return _outcomes(asyncio.gather(*work, return_exceptions=True))


async def _outcomes(work: asyncio.Future[list[_T | BaseException]]) -> list[_T]:
    outcomes = await work
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]


def both(first: Awaitable[_A], second: Awaitable[_B]) -> Coroutine[Any, Any, tuple[_A, _B]]:
    """Return two outcomes of different kinds, as `together`."""
    work: list[Awaitable[Any]] = [first, second]
    return _pair(asyncio.gather(*work, return_exceptions=True))


async def _pair(work: asyncio.Future[list[Any]]) -> tuple[Any, Any]:
    first, second = await _outcomes(work)
    return first, second


async def by_portions(work: Callable[[_A], Awaitable[_T]], given: Sequence[_A]) -> list[_T]:
    """Do the same for each of many, some at once; return the outcomes, in order.

    Raises: as `together`; what comes after the portion that has failed is not begun.
    """
    outcomes: list[_T] = []
    for first in range(0, len(given), _AT_ONCE):
        outcomes += await together(*(work(each) for each in given[first : first + _AT_ONCE]))
    return outcomes


class Once:
    """Works of one owner that are each done once; whoever asks meanwhile shares the outcome.

    What fails is done again by whoever asks next. A work is over for nobody but its own failure:
    one who is cancelled leaves it to the others.
    """

    def __init__(self) -> None:
        self._done: set[str] = set()
        self._doing: dict[str, asyncio.Task[None]] = {}

    def __contains__(self, what: str) -> bool:
        return what in self._done

    def __bool__(self) -> bool:
        return bool(self._done)

    async def do(self, what: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have a work be done, by its name.

        Raises: as that work.
        """
        if what in self._done:
            return
        if (running := self._doing.get(what)) is None:
            running = self._doing[what] = part(work())
            running.add_done_callback(lambda task: self._ended(what, task))
        await asyncio.shield(running)

    def forget(self) -> None:
        """Have each that is done be done again by whoever asks next."""
        self._done.clear()

    def cancelled(self) -> tuple[asyncio.Task[None], ...]:
        """Cancel what is under way, and return it."""
        under_way = tuple(self._doing.values())
        for task in under_way:
            task.cancel()
        return under_way

    def _ended(self, what: str, task: asyncio.Task[None]) -> None:
        del self._doing[what]
        if not task.cancelled() and task.exception() is None:
            self._done.add(what)


async def in_thread(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Return what work that blocks returns, done in a thread that nobody has to wait for.

    Whoever has waited long enough leaves it to itself. Of asyncio's own threads there are few, and
    a process that ends waits for each of them.

    Raises:
        OSError: the system gives no thread; or as that work.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[_T] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: _T | None, error: BaseException | None) -> None:
        if outcome.cancelled():
            return
        if error:
            outcome.set_exception(error)
        else:
            outcome.set_result(cast("_T", result))

    def run() -> None:
        result, failed = None, None
        try:
            result = context.run(work, *args, **kwargs)
        except BaseException as error:  # noqa: BLE001  # raised where it is waited for
            failed = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, result, failed)

    name = getattr(work, "__name__", "work")  # a partial has none
    threads.begin(run, name=f"agentbus-{name}")
    return await outcome
