# SPDX-License-Identifier: Apache-2.0
"""Who is there: what `list_agents` shows, and the nearest names to one that nobody has.

>>> [entry.id for entry in (await page(bus)).agents]
['coder', 'planner']
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core import ids
from mcp_agentbus.core.aio import together
from mcp_agentbus.core.ids import LANES, Priority
from mcp_agentbus.errors import UnknownAgent
from mcp_agentbus.store import streams, subjects
from mcp_agentbus.store.roster import Entry, everybody


@dataclass(frozen=True)
class Listed:
    """An agent in a list, with what waits for it."""

    entry: Entry
    #: Tasks that nobody holds, by priority.
    waiting: dict[Priority, int]


@dataclass(frozen=True)
class Page:
    """A part of the roster."""

    agents: tuple[Listed, ...]
    #: Ask again with it for the rest; None at the end.
    next_cursor: str | None
    total: int


async def page(
    bus: Bus,
    *,
    query: str = "",
    include_offline: bool = True,
    limit: int = 20,
    cursor: str | None = None,
) -> Page:
    """Return the agents whose id, role, host or description has `query` in it."""
    needle = query.casefold()
    chosen = [
        entry
        for entry in await everybody(bus)
        if (include_offline or entry.state in {"live session", "listening"})
        and needle
        in "\n".join((entry.id, *entry.roles, *entry.hosts, entry.description)).casefold()
    ]
    rest = [entry for entry in chosen if cursor is None or entry.id > cursor]
    shown = rest[:limit]
    counts = await _waiting(bus, [entry.id for entry in shown])
    return Page(
        agents=tuple(Listed(entry, counts.get(entry.id, {})) for entry in shown),
        next_cursor=shown[-1].id if len(rest) > limit else None,
        total=len(chosen),
    )


def unknown(inbox: str, entries: Iterable[Entry]) -> UnknownAgent:
    """Return the error for a name that nobody has, with the nearest names there are."""
    entries = list(entries)
    known = [entry.id for entry in entries]
    known += [f"role:{role}" for role in {role for entry in entries for role in entry.roles}]
    address = ids.address_of(inbox)
    near = difflib.get_close_matches(address, known, n=3, cutoff=0.4)
    hint = f"Nearest: {', '.join(near)}. " if near else ""
    return UnknownAgent(
        f"No agent {address!r} is registered. Nothing was sent."
        if not address.startswith("role:")
        else f"No registered agent holds {address!r}. Nothing was sent.",
        hint=hint + UnknownAgent.hint,
    )


async def _waiting(bus: Bus, agents: Sequence[str]) -> dict[str, dict[Priority, int]]:
    """Return what waits for those agents in whose inboxes anything at all is stored."""
    stored = map(subjects.parts, await streams.stored_tasks(bus))
    places = {(inbox, lane) for inbox, _, (lane, _) in stored}
    lanes = {agent: [lane for lane in LANES if (agent, lane) in places] for agent in agents}
    busy = {agent: some for agent, some in lanes.items() if some}
    counts = await together(*(_in_lanes(bus, *one) for one in busy.items()))
    return dict(zip(busy, counts, strict=True))


async def _in_lanes(bus: Bus, agent: str, lanes: Sequence[Priority]) -> dict[Priority, int]:
    await streams.ensure_inbox(bus, agent)  # an agent that never ran has no lanes to count
    counts = await streams.waiting_by_lane(bus, (agent,), lanes)
    return {lane: count for lane, count in counts.items() if count}
