# SPDX-License-Identifier: Apache-2.0
"""What a session's inboxes hold besides what an answer gives.

    >>> (await looked_at(session)).waiting
    {'normal': 3}

As the pulls have told, or the server has: then what was withdrawn counts until a reader comes by.
Or by a look at each task, so that no answer says falsely that nothing waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final, NamedTuple

from mcp_agentbus.core.aio import together
from mcp_agentbus.core.ids import LANES, Priority
from mcp_agentbus.handoff.intake.brought import Brought
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import queues, subjects
from mcp_agentbus.store.queries import consumers, offers
from mcp_agentbus.store.queues import Lane
from mcp_agentbus.store.task import HELD

_NONE: Final[Mapping[Priority, int]] = MappingProxyType({})


class InboxRest(NamedTuple):
    """What the inboxes hold besides what was taken."""

    #: As `Inbox.waiting`.
    waiting: dict[Priority, int]
    #: As `Inbox.held_elsewhere`.
    held_elsewhere: int = 0
    #: As `Inbox.of_gone`.
    of_gone: int = 0


async def offered(session: Session, lanes: Sequence[Priority]) -> dict[Priority, int]:
    """Return how many tasks the inboxes offer in these lanes, and have given others in vain.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    places = (subjects.parts(claim.delivery.subject) for claim in session.claims.values())
    own = Counter((place.whose, place.rest[0]) for place in places)
    return await queues.offered(session.bus, session.inboxes, lanes, own)


async def as_told(
    session: Session, taken: Brought, told: Mapping[Priority, int] = _NONE
) -> InboxRest:
    """Return what the inboxes hold besides, as the pulls have told, or the server has or does.

    Where something was offered before, as what a session had that is gone, there may be more of it.

    Raises: as `offered`.
    """
    if any(claim.was_offered for claim in taken.claims):
        return await looked_at(session)
    counts = {**told, **taken.waiting}
    not_told = [lane for lane in LANES if lane not in counts]
    counts |= await offered(session, not_told)
    return InboxRest({lane: counts[lane] for lane in LANES if counts[lane]})


async def looked_at(session: Session) -> InboxRest:
    """Return the same by a look at each task: for an answer that says that nothing is new.

    Raises: as `offered`.
    """
    return _left(session, await _looks(session))


async def looked_at_to_take(
    session: Session,
    taken: Brought,
    take: Callable[[Sequence[Priority]], Awaitable[Brought]],
    lanes: Sequence[Priority],
) -> tuple[Brought, InboxRest]:
    """Look at each task, and take what nobody has and was not offered; return what is left, too.

    Args:
        session: the reader's session.
        taken: what was offered: no task.
        take: claims what is wanted in some lanes.
        lanes: in which something is wanted.

    Raises: as `lanes.take`.
    """
    if taken.nothing_stored:
        return taken, InboxRest({})
    looks = await _looks(session)
    left = _left(session, looks)
    there = {place: now for place, now in looks.items() if place[1] in lanes and now.count}
    # Of many it is not known who has them: they are asked for once more, as what is behind.
    again = [place for place, now in there.items() if now.free or now.tasks is None]
    if taken.degraded or not again:
        return taken, left
    for place in again:
        if there[place].free:
            offers.doubt(session.bus, consumers.lane(*place))
    taken = await take([lane for lane in lanes if any(lane == each for _, each in again)])
    counts = dict(left.waiting)
    for claim in taken.claims:
        counts[claim.task.priority] -= 1
    return taken, left._replace(waiting={lane: n for lane, n in counts.items() if n > 0})


async def _looks(session: Session) -> dict[tuple[str, Priority], Lane]:
    """Look at each lane of a session's inboxes, and have what waits there be handed out."""
    places = [(inbox, lane) for lane in LANES for inbox in session.inboxes]
    looks = await together(*(queues.look(session.bus, *place) for place in places))
    if any(now.count for now in looks):  # who has the bus's token can have them kept from that
        await together(*(consumers.ensure_inbox(session.bus, inbox) for inbox in session.inboxes))
    return {place: _with_own(session, now) for place, now in zip(places, looks, strict=True)}


def _with_own(session: Session, now: Lane) -> Lane:
    """Count as held what the session holds, also after it was cut off and has given no sign."""
    own = sum(
        record.session == session.id and record.state in HELD and record.task_id in session.claims
        for record in now.records.values()
    )
    return replace(now, count=now.count - own, held=now.held + own, gone=now.gone - own)


def _left(session: Session, looks: Mapping[tuple[str, Priority], Lane]) -> InboxRest:
    counts = Counter[Priority]()
    for (_, lane), now in looks.items():
        counts[lane] += now.count
    elsewhere = sum(now.held for now in looks.values()) - len(session.claims)
    gone = sum(now.gone for now in looks.values())
    return InboxRest(
        {lane: counts[lane] for lane in LANES if counts[lane]}, max(0, elsewhere), gone
    )
