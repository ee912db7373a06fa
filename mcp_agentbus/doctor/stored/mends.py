# SPDX-License-Identifier: Apache-2.0
"""What a step of `--fix` does on the bus, and how what others have named is shown.

>>> Step("remove the consumers theirs", asks(settings, remove))
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import NO_SUCH_STREAM, ApiError
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import framing, ids
from mcp_agentbus.core.aio import together
from mcp_agentbus.store.streams import STREAMS

#: What is said of whatever a step mends.
FIX: Final = "Run `agentbus doctor --fix`."
_NAMES_MAX: Final = 5
_NAME_MAX_CHARS: Final = 70


async def is_whole(bus: Bus) -> bool:
    """Tell whether a server runs that has all streams; the check `store` tells of the others.

    Raises: as `Bus.api`.
    """
    if not await bus.reconnected(0):
        return False
    try:
        await together(*(bus.api(f"STREAM.INFO.{stream}") for stream in STREAMS))
    except ApiError as error:
        if error.code != NO_SUCH_STREAM:
            raise
        return False
    return True


def asks(settings: Settings, work: Callable[[Bus], Awaitable[None]]) -> Callable[[], str]:
    """Return what does some work on the bus, for a step of `--fix`."""

    async def done() -> None:
        async with Bus.connect(settings) as bus:
            await work(bus)

    def do() -> str:
        asyncio.run(done())
        return ""

    return do


def named(names: Iterable[str]) -> str:
    """Return some names of others' as one line that shows what they hold."""
    known = list(dict.fromkeys(names))
    more = f" and {len(known) - _NAMES_MAX} more" if len(known) > _NAMES_MAX else ""
    return ", ".join(framing.one_line(name, _NAME_MAX_CHARS) for name in known[:_NAMES_MAX]) + more


def others(names: Iterable[str]) -> str:
    """Return names that anybody may have given: what can be read as a sentence is only counted."""
    known = list(dict.fromkeys(names))
    words = [name for name in known if ids.is_label(name)]
    odd = f"{len(known) - len(words)} of an odd name" if len(words) < len(known) else ""
    return " and ".join(filter(None, (named(words), odd)))
