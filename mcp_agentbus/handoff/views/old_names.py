# SPDX-License-Identifier: Apache-2.0
"""What waits under the names that an agent had before it was renamed.

>>> await under_old_names(bus, "shop")
('Under coder, which this agent was before, waits: 2 tasks. To have that here: ...',)
"""

from __future__ import annotations

from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config import names
from mcp_agentbus.core.aio import both
from mcp_agentbus.core.text import many
from mcp_agentbus.errors import BusUnreachable, NotAllowed
from mcp_agentbus.store import queues, roster, streams, unseen

# Of what waits under an old name nobody needs a larger number.
_LEFT_MAX: Final = 20


async def under_old_names(bus: Bus, agent: str) -> tuple[str, ...]:
    """Say what waits under the names that an agent had before it was renamed, a sentence for each.

    It is not moved unasked: whoever is started by an old name uses it again.

    Raises:
        BadSetup: the book of names cannot be read.
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    book = names.read(bus.settings)
    before = [was for was in book.renamed if book.became(was, agent)]
    remarks: list[str] = []
    try:
        if before:  # the call that this comes before has not made sure of them yet
            await streams.ensure_streams(bus)
        told = [await _under_old_name(bus, old, agent) for old in before]
        remarks = list(filter(None, told))
    except BusUnreachable:
        if not bus.settings.keeps_outbox:  # else the call itself may do without the bus
            raise
    return tuple(remarks)


async def _under_old_name(bus: Bus, old: str, agent: str) -> str:
    if await roster.live_sessions(bus, old):
        return ""  # what it has is its own, and may come back still
    try:
        tasks, results = await both(queues.counts(bus, (old,)), unseen.look_up(bus, old, _LEFT_MAX))
    except NotAllowed:  # the name is another account's, with all that waits there
        return ""
    counts = (_left(sum(tasks.values()), "task"), _left(len(results.results), "result"))
    if not any(counts):
        return ""
    return (
        f"Under {old}, which this agent was before, waits: {', '.join(filter(None, counts))}. "
        f"To have that here: agentbus agent rename {old} {agent}"
    )


def _left(count: int, what: str) -> str:
    if count >= _LEFT_MAX:
        return f"{count} or more {what}s"
    return many(count, what) if count else ""
