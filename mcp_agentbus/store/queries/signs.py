# SPDX-License-Identifier: Apache-2.0
"""Signs of life, as they are read: which sessions and listeners are there now.

    >>> [sign.session for sign in await signs_of_life(bus, "coder")]
    ['3f7a']

Whoever gives none for 15 s is gone. Others may write what they like there: it is checked here.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Found
from mcp_agentbus.core import ids, text
from mcp_agentbus.core.notices import Holds
from mcp_agentbus.store import streams, subjects
from mcp_agentbus.store.queries.clock import server_now
from mcp_agentbus.store.subjects import PRESENCE
from mcp_agentbus.store.task import Undecodable

# After this age a session is gone: the server forgets it sooner, and our clock may differ from its.
_GONE_FOR_SURE: Final = timedelta(seconds=streams.PRESENCE_S + 60)


@dataclass(frozen=True)
class Sign:
    """A sign of life: of a session, or of a listener that looks after an agent."""

    agent: str
    session: str
    kind: Literal["session", "listener"]
    #: Of a session; empty if it has said none.
    host: str
    #: It ends.
    leaving: bool
    #: Its listener knows that the session was killed.
    gone: bool
    #: Of a listener.
    holds: Holds
    #: When it was given, by the server's clock.
    at: datetime


async def signs_of_life(bus: Bus, agent: str) -> list[Sign]:
    """Return the signs of life of an agent, or of all, `*`; what cannot be read is none.

    Raises:
        ApiError, BusUnreachable, NotAllowed: as `Bus.many`.
    """
    pages = bus.stored(PRESENCE, subjects.heartbeat_subject(agent, "*"))
    beats = [beat async for page in pages for beat in page]
    now = text.now()
    if any(now - beat.stored_at > _GONE_FOR_SURE for beat in beats):
        # By a clock that is wrong all would be gone, and their tasks be taken from them.
        now = await server_now(bus, PRESENCE)
    return [sign for beat in beats if (sign := _sign(beat, now))]


def _sign(beat: Found, now: datetime) -> Sign | None:
    """Return what a sign of life says; None of one that leaves, is long gone, or says nothing."""
    # How old it is the server says: whoever wrote it may have asked to be kept for ever.
    if now - beat.stored_at > _GONE_FOR_SURE or beat.headers.get("Nats-Marker-Reason"):
        return None
    with suppress(Undecodable):
        if not (sign := decode_sign(beat)).leaving:
            return sign
    return None


def decode_sign(beat: Found) -> Sign:
    """Return what a sign of life says.

    Raises:
        Undecodable: it is none.
    """
    whose, _, rest = subjects.parts(beat.subject)
    said: Any = None
    with suppress(ValueError):
        said = text.from_json(beat.data)
    kind = said.get("kind") if isinstance(said, dict) else None
    # No set of kinds: what is said may be anything.
    if kind not in ("session", "listener") or not ids.is_agent(whose) or len(rest) != 1:
        raise Undecodable("it is the sign of neither a session nor a listener")
    host = said.get("host")
    return Sign(
        agent=whose,
        session=rest[0],
        kind=kind,
        host=host if isinstance(host, str) and ids.is_inbox(host) else "",
        leaving=bool(said.get("leaving")),
        gone=bool(said.get("gone")),
        holds=Holds.of(said),
        at=beat.stored_at,
    )
