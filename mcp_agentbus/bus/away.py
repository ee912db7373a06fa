# SPDX-License-Identifier: Apache-2.0
"""Waiting for a server that has gone, for as long as it takes: what is said meanwhile.

    await reached(bus, say)     # "The bus is away, and looked for again and again: ..."

Whoever follows something waits here: who stays silent while nobody answers seems to have no news.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mcp_agentbus.bus.reconnect import Reconnecting
from mcp_agentbus.errors import NotAllowed

# How long one look for a server may take that has gone, in seconds; then comes the next.
_RECONNECT_S: Final = 60.0
# And the first one, after which it is said: a restart takes no longer.
_FIRST_S: Final = 5.0


async def reached(bus: Reconnecting, say: Callable[[str], None]) -> None:
    """Wait until the server is reached, which starts none; whoever waits long is told why.

    Raises:
        BusUnreachable: as `Reconnecting.reconnected`.
        NotAllowed: the server takes this login no more, which no waiting mends.
    """
    is_said = False
    while not await bus.reconnected(_RECONNECT_S if is_said else _FIRST_S):
        if bus.is_locked_out:
            raise NotAllowed(f"The bus is not to be followed any more: {bus.away_says}")
        if not is_said:
            say(f"The bus is away, and looked for again and again: {bus.away_says}")
        is_said = True
    if is_said:
        say("The bus is back.")


def unsaid(_: str) -> None:
    """Say nothing: for a program that only wants to know when it is over."""
