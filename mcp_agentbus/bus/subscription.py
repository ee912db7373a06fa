# SPDX-License-Identifier: Apache-2.0
"""What is heard on a subject, whichever connection there is, and a rest from a flood of it.

    >>> subscription = Subscription("agentbus.coder.wake.*.*", arrived, group="", most=500)
    >>> await subscription.begin(link, within_s=1.5)

`Reconnecting` begins it anew on each connection that it opens.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Final

from mcp_agentbus.bus.connection import Link, LinkLost
from mcp_agentbus.bus.replies import Message
from mcp_agentbus.core.aio import in_background

# A subject on which more than this comes in a second is not heard for a second: somebody's flood of
# 500,000 costs each that hears it a tenth of a processor then, and not all of one.
HEARD_MAX: Final = 500
_REST_S: Final = 1.0
# As long as one try of a request.
_BEGINS_WITHIN_S: Final = 1.5

#: Called with each message, and with None when something may have been missed.
Arrived = Callable[[Message | None], None]


class Subscription:
    """What is heard on a subject, on the connection there is."""

    def __init__(self, subject: str, arrived: Arrived, group: str, most: int) -> None:
        self._subject, self.arrived, self._group, self._most = subject, arrived, group, most
        self._link: Link | None = None
        self._end: Callable[[], Awaitable[None]] | None = None
        self._resting: asyncio.Task[None] | None = None
        #: How many have come in the second that began then; monotonic.
        self._heard, self._since = 0, 0.0
        #: Whether the server's permissions let it be heard.
        self.is_allowed = True

    async def begin(self, link: Link, within_s: float) -> None:
        """Hear it on a connection. Raises: as `Link.flush`."""
        # The connection before has ended, and nothing is left to end on it.
        self._link, self._end, self._heard = link, None, 0
        end = await link.subscribe(self._subject, self._hear, self._group)
        try:
            # Interest must be known to the server before anything is done that it should see.
            await link.flush(within_s)
        except BaseException:
            await end()
            raise
        self._end, self.is_allowed = end, not link.was_denied(self._subject)
        if self._heard > self._most:
            self._begin_rest(end)

    async def end(self) -> None:
        """Hear it no more."""
        self._link = None
        if self._resting:
            self._resting.cancel()
        if self._end:
            await self._end()

    def _hear(self, message: Message) -> None:
        now = time.monotonic()
        if now - self._since >= _REST_S:
            self._heard, self._since = 0, now
        self._heard += 1
        if self._heard <= self._most:
            self.arrived(message)
        elif self._end:
            self._begin_rest(self._end)

    def _begin_rest(self, end: Callable[[], Awaitable[None]]) -> None:
        if self._resting is None:
            self._resting = in_background(self._rest(end), f"rest from {self._subject}")

    async def _rest(self, end: Callable[[], Awaitable[None]]) -> None:
        """Hear nothing for a while; then it is as after a lost connection."""
        link = self._link
        try:
            await end()
            if self._end is end:
                self._end = None
            while link and self._rests_on(link):
                await asyncio.sleep(_REST_S)
                if self._rests_on(link):
                    with contextlib.suppress(LinkLost, TimeoutError):
                        await self.begin(link, _BEGINS_WITHIN_S)
        finally:
            self._resting = None
        self.arrived(None)

    def _rests_on(self, link: Link) -> bool:
        """Tell whether it is not heard on a connection; false once there is another."""
        return self._link is link and link.alive and self._end is None
