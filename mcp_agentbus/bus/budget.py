# SPDX-License-Identifier: Apache-2.0
"""How long one call waits for a server that does not answer: once, whatever it asks.

    @one_call
    async def read_inbox(session: Session) -> Inbox: ...

A call asks the server many things, one after the other. One that hangs costs the call `CALL_S`
together, and not for each of them. A slow one, that answers each, is not given up on.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, ParamSpec, TypeVar

from mcp_agentbus.errors import BusUnreachable

# A call ends within 5 s, whatever the server does: what is left of them is for what a session does
# before and after it asks, and for the start of a command, on a machine that is busy.
CALL_S: Final = 3.2
# A healthy server takes 1 ms, a slow disk may take 100; on a machine that does much else, seconds.
_ANSWERS_WITHIN_S: Final = 2.0
# What is asked late in a call is asked all the same, for so long.
_LEAST_S: Final = 0.25

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Budget:
    """The time that is left to a call, which has `within_s` in all."""

    def __init__(self, within_s: float | None = None) -> None:
        self._within_s = CALL_S if within_s is None else within_s
        self._until = time.monotonic() + self._within_s
        #: What was asked in vain until the time was over has failed with this; what is asked
        #: afterwards fails with it at once.
        self.failed: BusUnreachable | None = None
        self.ended = False

    @property
    def left_s(self) -> float:
        """Seconds for what is asked now."""
        return max(_LEAST_S, self._until - time.monotonic())

    def lasts(self, pause_s: float) -> bool:
        """Tell whether something may be asked again after such a pause."""
        return time.monotonic() + pause_s < self._until

    def answered(self) -> None:
        """Note that the server has answered."""
        more_s = min(_ANSWERS_WITHIN_S, self._within_s)
        self._until = max(self._until, time.monotonic() + more_s)

    def renew(self) -> None:
        """Begin anew, after a wait that had nothing to do with the server."""
        self._until = time.monotonic() + self._within_s
        self.failed = None


#: Of the call that runs. What a call leaves to the background outlives it, and has no part in it.
_BUDGET: Final[ContextVar[Budget | None]] = ContextVar("budget", default=None)


def current() -> Budget:
    """Return the budget of the call that runs; one of its own for whoever asks outside a call."""
    budget = _BUDGET.get()
    return Budget() if budget is None or budget.ended else budget


@contextmanager
def call() -> Generator[Budget]:
    """Have all that is asked within share one budget; within a call that has one, share that."""
    budget = current()
    if budget is _BUDGET.get():
        yield budget
        return
    token = _BUDGET.set(budget)
    try:
        yield budget
    finally:
        budget.ended = True
        _BUDGET.reset(token)


@contextmanager
def apart(within_s: float | None = None) -> Generator[None]:
    """Have what is asked within share a budget of its own; None: as large as that of a call.

    It mends what the call waits for, or is no part of what was called.
    """
    budget = Budget(within_s)
    token = _BUDGET.set(budget)
    try:
        yield
    finally:
        budget.ended = True
        _BUDGET.reset(token)


def renew() -> None:
    """Have the call that runs begin anew; see `Budget.renew`."""
    current().renew()


def one_call(
    function: Callable[_P, Coroutine[Any, Any, _T]],
) -> Callable[_P, Coroutine[Any, Any, _T]]:
    """Have each run of `function` be one call."""

    @functools.wraps(function)
    async def within(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        with call():
            return await function(*args, **kwargs)

    return within
