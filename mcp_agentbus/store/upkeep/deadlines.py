# SPDX-License-Identifier: Apache-2.0
"""Deadlines of what agents have sent: whoever looks ends what is over, also where no sender is.

    deadlines = Deadlines(bus)
    while True:
        await deadlines.look(agents)

The sender's record of an open task lies in a consumer of its own and is given back until its
deadline: JetStream keeps the time, across restarts, and nobody has to search.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Delivery, HandedOut
from mcp_agentbus.core.aio import together
from mcp_agentbus.errors import AgentbusError, Refused
from mcp_agentbus.store import records
from mcp_agentbus.store.queries import consumers, pulls
from mcp_agentbus.store.queries.clock import now_about
from mcp_agentbus.store.subjects import RESULTS
from mcp_agentbus.store.task import Sent
from mcp_agentbus.store.upkeep import removal
from mcp_agentbus.store.upkeep.stillness import Stillness
from mcp_agentbus.store.upkeep.unkept import Unkept

# Between two looks, in seconds.
_PAUSE_S: Final = 15.0
# Of one agent's in one look; the next one goes on.
_BATCH: Final = 100
# A timer that fires early would be set again for nothing.
_AFTER_DEADLINE_S: Final = 0.05


class Deadlines:
    """Looks again and again for agents that may have no session."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._look_at = 0.0
        self._unkept = Unkept(bus)
        self._stillness = Stillness(bus, RESULTS)

    async def look(self, agents: Iterable[str]) -> None:
        """End what those agents have sent and is over, unless that was done a moment ago.

        Raises: as `Bus.publish`.
        """
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _PAUSE_S
        agents = list(agents)
        with suppress(AgentbusError):  # no deadline of others waits for it
            await self._unkept.look(agents)
        await self._stillness.look()
        for agent in agents:
            if self._stillness.holds_for(agent):
                continue
            try:
                deliveries = await pulls.pull(self._bus, consumers.sent(agent), _BATCH)
                await together(*(end_if_over(self._bus, agent, each) for each in deliveries))
                may_be_still = self._stillness.is_settled and not deliveries
                is_still = may_be_still and await self._has_no_open(agent)
                self._stillness.note(agent, is_still=is_still)
            # More tasks are open than the server counts deadlines for; or another account has the
            # agent, which its own desk finds out, too; or one's end is refused, and comes again:
            # the others' do not wait for it.
            except (HandedOut, Refused):
                continue

    async def _has_no_open(self, agent: str) -> bool:
        """Tell whether no task of an agent's is open, whose record would come back."""
        consumer = consumers.sent(agent)
        there = await consumers.info(self._bus, consumer.stream, consumer.name)
        return there is not None and not (there.waiting or there.taken)


async def end_if_over(bus: Bus, agent: str, delivery: Delivery) -> Sent | None:
    """End the task of a sender's record once its deadline has passed; return it if that was done.

    Raises: as `Bus.publish`.
    """
    sent = records.sent_in(delivery)
    if sent is None or sent.unasked:  # there is nobody whose deadline it were
        await bus.finish(delivery)
        return None
    left_s = (sent.expires_at - await now_about(bus, sent.expires_at)).total_seconds()
    if left_s > 0 and not sent.closed:
        await bus.give_back(delivery, after_s=left_s + _AFTER_DEADLINE_S)
        return None
    ended = not sent.closed and await removal.expire(bus, sent, agent)
    await bus.finish(delivery)
    return sent if ended else None
