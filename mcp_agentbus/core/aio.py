# SPDX-License-Identifier: Apache-2.0
"""Await several at once, and leave none running behind a failure.

    >>> await together(read("coder"), read("role-review"))
    [3, 1]
    >>> await both(read("coder"), listed())
    (3, ['coder', 'planner'])

`asyncio.gather` returns at the first failure while the others go on; a process that ends then
complains about them, and a caller who tries again competes with them. Do not nest `together` and
`both`: the inner call, cancelled before it starts, would leave its coroutines unawaited.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar, cast

_T = TypeVar("_T")
_A = TypeVar("_A")
_B = TypeVar("_B")


async def together(*work: Awaitable[_T]) -> list[_T]:
    """Return all outcomes in order, or raise the first failure once all have ended."""
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]


async def both(first: Awaitable[_A], second: Awaitable[_B]) -> tuple[_A, _B]:
    """Return two outcomes of different kinds, as `together`."""
    work: tuple[Awaitable[Any], Awaitable[Any]] = (first, second)
    return cast("tuple[_A, _B]", tuple(await together(*work)))
