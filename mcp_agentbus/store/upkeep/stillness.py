# SPDX-License-Identifier: Apache-2.0
"""Where a stream has nothing new for an agent: whoever looks again and again need not ask there.

    stillness = Stillness(bus, RESULTS)
    await stillness.look()
    if not stillness.holds_for("planner"):
        stillness.note("planner", is_still=...)

A listener has many agents, most of which are idle: what is asked for each of them is most of what
it does then.
"""

from __future__ import annotations

import time
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.store import streams

# In seconds: in a cluster who answers a read may be behind who counts, by far less.
_BEHIND_S: Final = 5.0
# And for so long it is taken at its word. A consumer that nobody asks for `consumers.UNUSED_S` the
# server removes, and one that is made anew hands out all again that was ever stored.
_HOLDS_S: Final = 3600.0


class Stillness:
    """Knows of which agents a look has left nothing to come, and nothing was stored since."""

    def __init__(self, bus: Bus, stream: str) -> None:
        self._bus, self._stream = bus, stream
        #: How far the stream is, and by which connection that was told; None: there is no stream.
        self._at: tuple[int, str, int] | None = None
        #: Since when it is seen to be there, by the monotonic clock.
        self._since = 0.0
        #: Where it was as a look has left nothing to come, and when that was, by agent.
        self._still: dict[str, tuple[tuple[int, str, int] | None, float]] = {}

    async def look(self) -> dict[str, Any] | None:
        """Ask how far the stream is; return what `STREAM.INFO` says, None if there is no stream.

        Raises: as `Bus.api`.
        """
        info = await streams.info(self._bus, self._stream)
        at = _at(info, self._bus.connections) if info else None
        if at != self._at:
            self._at, self._since = at, time.monotonic()
        return info

    def holds_for(self, agent: str) -> bool:
        """Tell whether there is nothing that an agent's looks have not found."""
        at, noted = self._still.get(agent, (None, 0.0))
        return at is not None and at == self._at and time.monotonic() - noted < _HOLDS_S

    @property
    def is_settled(self) -> bool:
        """Whether the stream has stood for so long that a look may find nothing to come."""
        return time.monotonic() - self._since > _BEHIND_S

    def note(self, agent: str, *, is_still: bool) -> None:
        """Take note of a look that was begun after `look`: whether it has left nothing to come."""
        at = self._at if is_still and self.is_settled else None
        self._still[agent] = at, time.monotonic()


def _at(info: dict[str, Any], connection: int) -> tuple[int, str, int]:
    return connection, str(info["created"]), int(info["state"]["last_seq"])
