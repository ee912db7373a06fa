# SPDX-License-Identifier: Apache-2.0
"""What a model knows of a task that was sent, and a session of it that can die.

>>> Sent("ana", "ben", "high", 7, kind="soon").is_timed
True
"""

from contextlib import suppress
from dataclasses import dataclass, field

from workers import forget

from mcp_agentbus.errors import Refused


@dataclass
class Sent:
    """A task that was acknowledged."""

    sender: str
    inbox: str
    lane: str
    number: int
    kind: str
    #: By its subject, which is its number: what its addressee must be shown.
    ends: set[str] = field(default_factory=set)
    shown: set[str] = field(default_factory=set)
    #: It was given back, or its session died: what comes after it may have overtaken it.
    was_back: bool = False
    holders: set[str] = field(default_factory=set)

    @property
    def is_word(self):
        return self.kind == "word"

    @property
    def is_timed(self):
        """Whether the clock has a say in when it can be had: from when, or until when."""
        return self.kind in {"later", "soon"}


class Member:
    """A session that lives, with a connection of its own."""

    def __init__(self, bus, session, stack):
        self.bus, self.session, self._stack = bus, session, stack
        self.agent = session.me.id

    async def close(self):
        await self._stack.aclose()

    async def crash(self, observer):
        """End as a killed process does: nothing more is said, and nobody waits 15 s for it."""
        await self.bus.close()
        await self.session._ending.aclose()
        await self._stack.aclose()
        with suppress(Refused):  # a server that was killed remembers no signs of life
            await forget(observer, self.agent, self.session.id)
