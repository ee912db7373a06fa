# SPDX-License-Identifier: Apache-2.0
"""An agent's place at the listener: what is known there of its wakes at this moment.

    desk = Desk("coder")
    desk.stirred.set()        # have it looked at

Nothing of it outlives the listener; what must is in the `ledger`.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime

from mcp_agentbus.core.notices import Counts
from mcp_agentbus.listener.members import Member
from mcp_agentbus.store.roster import Holds


@dataclass(eq=False)
class Desk:
    """One agent's place at the listener."""

    agent: str
    stirred: asyncio.Event = field(default_factory=asyncio.Event)
    #: What it was told of and has not read yet: wake, keys, and until when that is no failure.
    told: dict[int, tuple[frozenset[str], float]] = field(default_factory=dict)
    #: The wake that is under way.
    running: asyncio.Task[None] | None = None
    #: Why nothing was woken at the last look, a `policy.Reason`; empty if something was.
    held: str = ""
    #: The same for those who send, as the roster is told.
    holds: Holds = field(default_factory=Holds)
    counts: Counts = field(default_factory=Counts)
    #: When to look again, if nothing stirs before.
    until: datetime | None = None
    #: Its sessions that have ended, as long as the roster was not told.
    left: list[Member] = field(default_factory=list)
    #: Since when nobody has needed it, by the monotonic clock; None if somebody does.
    idle_since: float | None = None
    #: Looks at the agent whenever something stirs.
    loop: asyncio.Task[None] | None = None
    #: Held for a look, so that two at once do not wake twice.
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: The subjects on which it hears that something stirs.
    signs: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def unread(self) -> frozenset[str]:
        """The keys of all that it was told of and has not read yet."""
        return frozenset(key for keys, _ in self.told.values() for key in keys)
