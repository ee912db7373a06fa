# SPDX-License-Identifier: Apache-2.0
"""Await several at once, and leave none running behind a failure.

    >>> await together(read(1), read(2))
    [..., ...]

`asyncio.gather` returns at the first failure while the others go on; a process that ends then
complains about them, and a caller who tries again competes with them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

_T = TypeVar("_T")


async def together(*work: Awaitable[_T]) -> list[_T]:
    """Return all outcomes in order, or raise the first failure once all have ended."""
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return [one for one in outcomes if not isinstance(one, BaseException)]
