# SPDX-License-Identifier: Apache-2.0
"""Where a connection is at home: in one process, and one event loop of it.

In a forked child two processes would read the answers of one connection, and in another loop or
thread nobody is woken by what comes in there: a server that answers seems to hang.
"""

from __future__ import annotations

import asyncio
import os

from mcp_agentbus.config.settings import Settings
from mcp_agentbus.errors import BadInput, BadSetup


class Home:
    """Where a connection was used first."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_here(self) -> bool:
        """Whether it is used where it was before, if it was."""
        return self._pid == os.getpid() and self._loop in {None, asyncio.get_running_loop()}

    def moves(self) -> bool:
        """Tell whether all that was begun there has ended with its loop; it is at home here, then.

        Raises:
            BadSetup: its loop may go on elsewhere.
        """
        here, before = asyncio.get_running_loop(), self._loop
        if self._pid == os.getpid() and (before is None or before is here or before.is_closed()):
            self._loop = here
            return before is not None and before is not here
        raise BadSetup(
            "This Bus belongs to another event loop or process. Nothing was stored.",
            hint="Open a Bus and a Session in each.",
        )


def settings_of(bus: object) -> Settings:
    """Return the settings of a bus that somebody gives.

    Raises:
        BadInput: it is none, as what opens one.
    """
    # Not by their class: where a session goes on beside an upgrade they may be of the one before.
    settings: Settings | None = getattr(bus, "settings", None)
    if settings is not None:
        return settings
    raise BadInput(
        f"A session needs a Bus, and this is a {type(bus).__name__}.",
        hint="`Bus.connect()` and `Bus.ephemeral()` are for `async with ... as bus`; in a notebook "
        "use `Bus()`.",
    )
