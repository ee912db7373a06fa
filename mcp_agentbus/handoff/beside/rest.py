# SPDX-License-Identifier: Apache-2.0
"""What a session's inboxes hold besides what an answer gives.

    >>> (await looked_at(session)).waiting
    {'normal': 3}

As the pulls have told, or the server has: then what was withdrawn counts until a reader comes by.
Or by a look at each task, so that no answer says falsely that nothing waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol, TypeVar

from mcp_agentbus.core.aio import together
from mcp_agentbus.core.ids import LANES, Priority
from mcp_agentbus.handoff.claims import Claim
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import streams, waiting
from mcp_agentbus.store.reading import offers

_NONE: Final[Mapping[Priority, int]] = MappingProxyType({})


class Taking(Protocol):
    """What is asked here of what a reading of the lanes brought, which is a `lanes.Taken`."""

    claims: list[Claim]
    nothing_stored: bool


_T = TypeVar("_T", bound=Taking)


class Left(NamedTuple):
    """What the inboxes hold besides what was taken."""

    #: As `Inbox.waiting`.
    waiting: dict[Priority, int]
    #: As `Inbox.held_elsewhere`.
    held_elsewhere: int = 0


async def offered(session: Session, lanes: Sequence[Priority]) -> dict[Priority, int]:
    """Return how many tasks the inboxes offer in these lanes, as the server has it.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    return await waiting.offered(session.bus, session.inboxes, lanes)


async def as_told(
    session: Session, by_pulls: Mapping[Priority, int], told: Mapping[Priority, int] = _NONE
) -> Left:
    """Return what the inboxes hold besides, as the pulls have told, or the server has or does.

    Raises: as `offered`.
    """
    counts = {**told, **by_pulls}
    not_told = [lane for lane in LANES if lane not in counts]
    counts |= await offered(session, not_told)
    return Left({lane: counts[lane] for lane in LANES if counts[lane]})


async def looked_at(session: Session, *, nothing_stored: bool = False) -> Left:
    """Return the same by a look at each task: for an answer that says that nothing is new.

    It looks at none where `nothing_stored` is known to be so.

    Raises: as `offered`.
    """
    if nothing_stored:
        return Left({})
    looks = (waiting.look_together(session.bus, session.inboxes, lane) for lane in LANES)
    lanes_now = await together(*looks)
    counts = {lane: now.count for lane, now in zip(LANES, lanes_now, strict=True) if now.count}
    if counts:  # whoever has the bus's token can have them kept from being handed out
        await together(*(streams.ensure_inbox(session.bus, inbox) for inbox in session.inboxes))
    return Left(counts, max(0, sum(now.held for now in lanes_now) - len(session.claims)))


async def looked_at_to_take(
    session: Session,
    taken: _T,
    take: Callable[[Sequence[Priority]], Awaitable[_T]],
    places: Sequence[Priority],
) -> tuple[_T, Left]:
    """Look at each task, and take what waits and was not offered; return what was, and is left.

    Args:
        session: the reader's session.
        taken: what was offered: no task.
        take: claims what is wanted in some lanes.
        places: the lanes in which something is wanted.

    Raises: as `lanes.take`.
    """
    left = await looked_at(session, nothing_stored=taken.nothing_stored)
    there = [lane for lane in places if lane in left.waiting]
    if not there:
        return taken, left
    for lane in there:
        for inbox in session.inboxes:
            offers.doubt(session.bus, streams.lane(inbox, lane))
    taken = await take(there)
    counts = dict(left.waiting)
    for claim in taken.claims:
        counts[claim.task.priority] -= 1
    return taken, left._replace(waiting={lane: n for lane, n in counts.items() if n > 0})
