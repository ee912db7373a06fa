# SPDX-License-Identifier: Apache-2.0
"""The calls of a session that wait for something to come in, and hear where it did.

>>> with watches.begun() as watch:
...     await watch.wait()
frozenset({'high'})
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable
from contextlib import contextmanager


class Watch:
    """What came in since a waiting call looked last: where, never what."""

    def __init__(self) -> None:
        self._places: set[str] = set()
        self._came = asyncio.Event()

    def note(self, places: Iterable[str]) -> None:
        """Note that something came in there."""
        self._places.update(places)
        self._came.set()

    def clear(self) -> None:
        """Forget what came in: a look at it follows."""
        self._places.clear()
        self._came.clear()

    async def wait(self) -> frozenset[str]:
        """Wait until something has come in; return where."""
        await self._came.wait()
        return frozenset(self._places)


class Watches:
    """The calls of a session that wait: the last hears first, others may have been given up."""

    def __init__(self) -> None:
        self._all: list[Watch] = []

    @property
    def count(self) -> int:
        """How many wait."""
        return len(self._all)

    @contextmanager
    def begun(self) -> Generator[Watch]:
        """Have one more call wait."""
        watch = Watch()
        self._all.append(watch)
        try:
            yield watch
        finally:
            self._all.remove(watch)

    def note(self, *places: str) -> None:
        """Note that something came in there."""
        for watch in reversed(self._all):
            watch.note(places)
