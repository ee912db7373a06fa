# SPDX-License-Identifier: Apache-2.0
"""Who is on the bus at this moment, with how much is stored there for whom.

>>> (await ask_bus(bus)).stored
{('coder', 'high'): 2}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.aio import both, together
from mcp_agentbus.core.ids import LANES, Priority, is_inbox
from mcp_agentbus.errors import BusUnreachable, Unconfirmed
from mcp_agentbus.store import queues, roster, subjects
from mcp_agentbus.store.queries.counted import stored_subjects
from mcp_agentbus.store.queues import Lane
from mcp_agentbus.store.roster import Entry
from mcp_agentbus.store.subjects import DEAD

# Lanes that are looked at one by one.
_LANES_MAX: Final = 20

#: An inbox and a priority.
Place = tuple[str, Priority]


@dataclass(frozen=True)
class OnBus:
    """What the bus has answered."""

    #: By id.
    entries: Mapping[str, Entry] = field(default_factory=dict)
    #: The sessions that live.
    sessions: frozenset[str] = frozenset()
    #: Tasks that were set aside, by inbox; under an empty one those of which nobody can have it.
    parked: Mapping[str, int] = field(default_factory=dict)
    #: Unfinished tasks, held ones included, and those that are over and were not cleared away.
    stored: Mapping[Place, int] = field(default_factory=dict)

    @cached_property
    def has_forgotten(self) -> bool:
        """Whether the server has just started, so that sessions may live of which it knows none."""
        return any(entry.state == "not known" for entry in self.entries.values())


async def ask_bus(bus: Bus) -> OnBus:
    """Ask the bus who is there, and how much is stored where.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.many`.
    """
    everybody, sessions = await both(roster.everybody(bus), roster.live_sessions(bus, "*"))
    stored, dead = await both(
        queues.stored_tasks(bus),
        stored_subjects(bus, DEAD, subjects.dead_subject("*", "*", "*")),
    )
    places: Counter[Place] = Counter()
    for subject, count in stored.items():
        inbox, _, (lane, _) = subjects.parts(subject)
        for priority in LANES:
            if lane == priority and is_inbox(inbox):
                places[inbox, priority] += count
    parked: Counter[str] = Counter()
    for subject, count in dead.items():
        inbox = subjects.parts(subject).whose
        parked[inbox if is_inbox(inbox) else ""] += count
    return OnBus({entry.id: entry for entry in everybody}, sessions, parked, places)


async def look_into(bus: Bus, places: Sequence[Place]) -> dict[Place, Lane]:
    """Return what waits in some lanes; nothing if the bus is out of reach by now."""
    try:
        looks = (queues.look(bus, *place) for place in places[:_LANES_MAX])
        return dict(zip(places, await together(*looks), strict=False))
    except (BusUnreachable, Unconfirmed):
        return {}
