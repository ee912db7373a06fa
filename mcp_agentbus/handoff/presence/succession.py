# SPDX-License-Identifier: Apache-2.0
"""How a session asks for what earlier ones of the same host have, and knows a later one that asks.

    >>> succession = Succession(bus, "coder", "3f7a", hosted="claude 4711")
    >>> [handed async for handed in succession.handed()]
    [{'claims': [...], 'outcomes': {...}, 'ended': None}]

Both are of one user: the subject and what is said there are made with a key of this user's alone.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Message
from mcp_agentbus.config import machine_key
from mcp_agentbus.core import ids, text
from mcp_agentbus.store import subjects

_HANDED_OVER_S: Final = 2.0  # whoever is asked for what it has; one that hangs is not waited for
_PREDECESSORS_MAX: Final = 8  # more than a host leaves; whoever is on the bus may answer


class Succession:
    """The place of one host's session, in which several may follow each other."""

    def __init__(self, bus: Bus, agent: str, session: str, hosted: str) -> None:
        """Have a session ask there, whose host and process are `hosted`."""
        self._bus, self._session = bus, session
        # On the bus stands not the host's own id of its session.
        self._key = machine_key.unforeseen(bus.settings.state_dir, "hosted", hosted)
        self._begun_ns = 0
        #: Where each of them is asked.
        self.subject = subjects.succeed_subject(agent, self._key)

    async def handed(self) -> AsyncGenerator[Any]:
        """Yield what each earlier session hands over, which whoever is on the bus may have written.

        Each that answers listens there no more, but for an earlier process of this session.
        """
        for _ in range(_PREDECESSORS_MAX):
            asks = machine_key.signed(self._bus.settings.state_dir, self._session, self._key)
            answer = await self._bus.ask(self.subject, asks, _HANDED_OVER_S)
            if not (answer and answer.data):
                break
            try:
                handed = text.from_json(answer.data)
            except ValueError:
                continue
            yield handed
        self._begun_ns = time.time_ns()  # who asks is later; who repeats what it heard is not

    def successor_in(self, message: Message) -> str:
        """Return the id of the later session that asks; empty if nobody of this user asks now."""
        state_dir = self._bus.settings.state_dir
        said = machine_key.word_in(state_dir, message.data, self._key, since=self._begun_ns)
        return said if ids.is_label(said) else ""
