# SPDX-License-Identifier: Apache-2.0
"""Who is there, for those who want to send: the agents of the roster, with what waits for each.

And what waits for the roles of those agents, which each of its holders may take.

    >>> [listed.entry.id for listed in (await page(bus)).agents]
    ['coder', 'planner']

It asks the roster and counts what waits; it registers nobody, and says nothing of itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mcp_agentbus.bus.budget import one_call
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core import ids, text
from mcp_agentbus.core.aio import both, together
from mcp_agentbus.core.ids import LANES, ROLE_PREFIX, Priority
from mcp_agentbus.errors import BadInput
from mcp_agentbus.store import queues, roster, subjects
from mcp_agentbus.store.registered.presence import AWAY
from mcp_agentbus.store.roster import Entry


@dataclass(frozen=True)
class Listed:
    """An agent in a list, with what waits for it."""

    entry: Entry
    #: Tasks that nobody holds, by priority; a priority without any is left out.
    waiting: dict[Priority, int]


@dataclass(frozen=True)
class Page:
    """A part of the roster."""

    agents: tuple[Listed, ...]
    #: Ask again with it for the rest; None at the end.
    next_cursor: str | None
    #: Agents that match, on this page or not.
    total: int
    #: Those that match as well and were left out, because they are away.
    away: int = 0
    #: What waits for each role that an agent on it holds, by name, as `Listed.waiting`.
    roles: Mapping[str, dict[Priority, int]] = field(default_factory=dict)

    @property
    def note(self) -> str:
        """What the agents on it do not say by themselves, as `Receipt.note`."""
        if not self.away:
            return ""
        who = text.many(self.away, "agent")
        if self.total:
            return f"Not shown: {who} more, offline."
        return f"Nobody that matches is there; {who} offline."


@one_call
async def page(
    bus: Bus,
    *,
    query: str = "",
    include_offline: bool = True,
    limit: int = 20,
    cursor: str | None = None,
) -> Page:
    """Return the agents whose id, role (or its address), host or description has `query`, by id.

    Args:
        bus: whose roster.
        query: letters of either case; empty for all.
        include_offline: also those that surely have no live session and no listener.
        limit: at most this many.
        cursor: `next_cursor` of the page before; an empty one is none, as of a shell that has none.

    Raises:
        BadInput: a value is of another kind, or the cursor none of a page.
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    text.check_text(query, "query")
    text.check_number(limit, "limit", 1, math.inf, hint="Use 1 or more.", kind=int)
    after = "" if cursor is None else text.check_text(cursor, "cursor")
    if after and not ids.is_agent(after):
        raise BadInput(
            "The cursor is not one of this list.", hint="Use the cursor of the answer before."
        )
    everybody, stored = await both(roster.everybody(bus), queues.stored_tasks(bus))
    matching = [entry for entry in everybody if _matches(entry, query)]
    chosen = [entry for entry in matching if include_offline or entry.state not in AWAY]
    rest = [entry for entry in chosen if entry.id > after]
    shown = rest[:limit]
    roles = {role: ROLE_PREFIX + role for role in sorted({r for each in shown for r in each.roles})}
    inboxes = [*(entry.id for entry in shown), *roles.values()]
    counts = await _waiting(bus, inboxes, stored)
    return Page(
        agents=tuple(Listed(entry, counts.get(entry.id, {})) for entry in shown),
        next_cursor=shown[-1].id if len(rest) > limit else None,
        total=len(chosen),
        away=len(matching) - len(chosen),
        roles={role: counts.get(inbox, {}) for role, inbox in roles.items()},
    )


def _matches(entry: Entry, query: str) -> bool:
    if not query:
        return True
    sought = query.casefold()
    # How an address begins is no part of the name of a role: all who hold any would have it.
    roles = map(ids.role_address, entry.roles) if ids.is_role_address(sought) else entry.roles
    words = "\n".join((entry.id, *roles, *entry.hosts, entry.description))
    return sought in words.casefold()


async def _waiting(
    bus: Bus, inboxes: Sequence[str], stored: Iterable[str]
) -> dict[str, dict[Priority, int]]:
    """Return what waits in those of the inboxes in which anything at all is stored, by subject."""
    places = {(inbox, lane) for inbox, _, (lane, _) in map(subjects.parts, stored)}
    lanes = {each: [lane for lane in LANES if (each, lane) in places] for each in inboxes}
    busy = {inbox: some for inbox, some in lanes.items() if some}
    counts = await together(*(_in_lanes(bus, inbox, some) for inbox, some in busy.items()))
    return dict(zip(busy, counts, strict=True))


async def _in_lanes(bus: Bus, inbox: str, lanes: Sequence[Priority]) -> dict[Priority, int]:
    counts = await queues.counts(bus, (inbox,), lanes)
    return {lane: count for lane, count in counts.items() if count}
