# SPDX-License-Identifier: Apache-2.0
"""Who is there: registrations, which last, and signs of life, which do not.

    >>> await look(bus, "coder")
    Entry(id='coder', state='offline', hosts=('claude-code',), last_seen=...)

An agent registers at its first tool call (or by `agentbus agent add`), and stays registered: that
is how one that is away is told from a typing error. One whose session lives and has called nothing
yet is there for as long as it lives. What others say of themselves is checked on reading;
descriptions are shown escaped.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Conflict, Found, server_time
from mcp_agentbus.core import ids
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.core.notices import WHY
from mcp_agentbus.store import streams, subjects
from mcp_agentbus.store.subjects import AGENTS, PRESENCE
from mcp_agentbus.store.task import Time

PresenceState = Literal["live session", "listening", "offline", "never seen"]
# A session says this often that it lives; it counts as gone after `topology.PRESENCE_S`.
BEAT_S: Final = 5
# How old `last_seen` may get while a session lives, so that a crash leaves a fair date.
TOUCH_S: Final = 300
_PAGE: Final = 1_000
_DESCRIPTION_MAX_CHARS: Final = 300


class Profile(BaseModel):
    """An agent's registration."""

    model_config = ConfigDict(frozen=True, extra="allow")

    id: str
    description: str = ""
    roles: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    registered_at: Time
    #: Start, touch or end of its latest session; None if it never had one.
    last_seen: Time | None = None


@dataclass(frozen=True)
class Holds:
    """Why one listener would hold wakes of an agent now: `notices.Reason`s."""

    #: Whoever sends; empty if it would wake.
    everybodys: str = ""
    #: By sender.
    senders: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """What is known of one agent or role."""

    id: str
    state: PresenceState
    last_seen: datetime | None = None
    hosts: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    description: str = ""
    #: What each of its listeners says of wakes; none without a listener.
    holds: tuple[Holds, ...] = ()

    def held_for(self, sender: str) -> str | None:
        """Return why a wake by `sender` would be held now; empty if it would not; None if unknown.

        One listener that would wake it is enough.
        """
        reasons = (one.senders.get(sender, one.everybodys) for one in self.holds)
        # What another machine's listener says is one of our own reasons, or is not repeated.
        said = (WHY.get(one, "its listener holds wakes") if one else "" for one in reasons)
        return min(said, default=None)


async def register(bus: Bus, agent: Agent, now: datetime | None) -> None:
    """Write or refresh the registration; `now` is None for an agent that has no session yet.

    Raises: as `Bus.publish`, but for Conflict.
    """
    subject = subjects.profile_subject(agent.id)
    while True:
        found = await bus.last(AGENTS, subject)
        old = _profile(found) if found else None
        profile = Profile(
            id=agent.id,
            description=(agent.description or (old.description if old else ""))[
                :_DESCRIPTION_MAX_CHARS
            ],
            roles=agent.roles or (old.roles if old else ()),
            hosts=tuple(dict.fromkeys(((old.hosts if old else ()) + (agent.host,))[-8:])),
            registered_at=old.registered_at if old else now or datetime.now(UTC),
            last_seen=now or (old.last_seen if old else None),
        )
        try:
            await bus.replace(
                subjects.AGENTS,
                subject,
                profile.model_dump_json().encode(),
                found.seq if found else 0,
            )
        except Conflict:
            continue  # another session of this agent registered at the same moment
        return


async def beat(bus: Bus, agent: Agent, session: str, *, leaving: bool = False) -> None:
    """Say that a session lives, or that it ends. May be lost: the next one follows.

    Raises:
        BusUnreachable: there is no connection.
    """
    headers = {"Nats-TTL": "1s"} if leaving else {}
    body = json.dumps({"kind": "session", "host": agent.host, "leaving": leaving}).encode()
    await bus.send(subjects.heartbeat_subject(agent.id, session), body, headers)


async def beat_for(bus: Bus, agent: str, listener: str, holds: Holds) -> None:
    """Say that a listener looks after an agent, and why it would hold wakes now, if it would.

    Raises:
        BusUnreachable: there is no connection.
    """
    held = {"held": holds.everybodys, "held_for": dict(holds.senders)}
    body = json.dumps({"kind": "listener", **held}).encode()
    await bus.send(subjects.heartbeat_subject(agent, listener), body, {})


async def look(bus: Bus, inbox: str) -> Entry | None:
    """Return what is known of an agent or a role; None if nobody of that name is there."""
    if inbox.startswith(ids.ROLE_PREFIX):
        role = inbox.removeprefix(ids.ROLE_PREFIX)
        holders = [entry for entry in await everybody(bus) if role in entry.roles]
        return _best(inbox, holders) if holders else None
    found, beats = await asyncio.gather(
        bus.last(AGENTS, subjects.profile_subject(inbox)),
        bus.many(PRESENCE, {"multi_last": [subjects.heartbeat_subject(inbox, "*")]}),
    )
    profile = (_profile(found) if found else None) or _newcomer(inbox, beats)
    return _entry(profile, beats) if profile else None


async def live_sessions(bus: Bus, agent: str) -> frozenset[str]:
    """Return the ids of an agent's sessions that gave a sign of life."""
    beats = await bus.many(PRESENCE, {"multi_last": [subjects.heartbeat_subject(agent, "*")]})
    return frozenset(
        subjects.parts(beat.subject).rest[0]
        for beat in beats
        if _beat(beat).get("kind") == "session"
    )


async def may_live(bus: Bus, agent: str, session: str) -> bool:
    """Tell whether a session lives, or may live: a new server has not heard from anybody yet."""
    if session in await live_sessions(bus, agent):
        return True
    info = await bus.admin.api(f"STREAM.INFO.{PRESENCE}")
    age = server_time(str(info["ts"])) - server_time(str(info["created"]))
    return age < timedelta(seconds=streams.PRESENCE_S)


async def everybody(bus: Bus) -> list[Entry]:
    """Return all agents that are registered or have a live session, by id."""
    profiles, beats = await asyncio.gather(
        _all(bus, AGENTS, subjects.profile_subject("*")),
        _all(bus, PRESENCE, subjects.heartbeat_subject("*", "*")),
    )
    of: dict[str, list[Found]] = {}
    for found in beats:
        of.setdefault(subjects.parts(found.subject).whose, []).append(found)
    known = {profile.id: profile for profile in map(_profile, profiles) if profile}
    for agent in of.keys() - known.keys():
        if ids.is_agent(agent) and (newcomer := _newcomer(agent, of[agent])):
            known[agent] = newcomer
    return [_entry(one, of.get(agent, ())) for agent, one in sorted(known.items())]


async def _all(bus: Bus, stream: str, subject: str) -> list[Found]:
    """Return the last message of every subject that matches, however many there are."""
    found: list[Found] = []
    while True:
        start = found[-1].seq + 1 if found else 1
        some = await bus.many(stream, {"seq": start, "batch": _PAGE, "next_by_subj": subject})
        found += some
        if len(some) < _PAGE:
            return found


def _profile(found: Found) -> Profile | None:
    try:
        profile = Profile.model_validate_json(found.data)
    except ValidationError:
        return None
    owner = subjects.parts(found.subject).whose
    # Who it is about is the subject's word; what else it says is only believed if it can be true.
    return profile.model_copy(
        update={
            "id": owner,
            "roles": tuple(r for r in profile.roles if ids.is_inbox(ids.ROLE_PREFIX + r)),
            "hosts": tuple(h for h in profile.hosts if ids.is_inbox(h)),
            "description": profile.description[:_DESCRIPTION_MAX_CHARS],
        }
    )


def _newcomer(agent: str, beats: Iterable[Found]) -> Profile | None:
    """Return who an agent is that has called no tool yet; None unless a session of it lives."""
    said = [one for one in map(_beat, beats) if one.get("kind") == "session"]
    hosts = dict.fromkeys(str(one.get("host", "")) for one in said)
    shown = tuple(host for host in hosts if ids.is_inbox(host))
    return Profile(id=agent, hosts=shown, registered_at=datetime.now(UTC)) if said else None


def _beat(found: Found) -> dict[str, Any]:
    if found.headers.get("Nats-Marker-Reason"):
        return {}
    try:
        body = json.loads(found.data)
    except ValueError:
        return {}
    return body if isinstance(body, dict) and not body.get("leaving") else {}


def _entry(profile: Profile, beats: Iterable[Found]) -> Entry:
    said = [_beat(beat) for beat in beats]
    kinds = {one.get("kind") for one in said}
    state: PresenceState
    if "session" in kinds:
        state = "live session"
    elif "listener" in kinds:
        state = "listening"
    else:
        state = "offline" if profile.last_seen else "never seen"
    return Entry(
        id=profile.id,
        state=state,
        last_seen=profile.last_seen,
        hosts=profile.hosts,
        roles=profile.roles,
        description=profile.description,
        holds=tuple(_holds(one) for one in said if one.get("kind") == "listener"),
    )


def _holds(beat: Mapping[str, Any]) -> Holds:
    senders = beat.get("held_for")
    said = senders.items() if isinstance(senders, dict) else ()
    return Holds(str(beat.get("held") or ""), {one: str(why) for one, why in said})


def _best(inbox: str, holders: Sequence[Entry]) -> Entry:
    """Return one entry for a role: the liveliest state of those who hold it."""
    order: tuple[PresenceState, ...] = ("live session", "listening", "offline", "never seen")
    seen = [entry.last_seen for entry in holders if entry.last_seen]
    return Entry(
        id=inbox,
        state=next(state for state in order if any(one.state == state for one in holders)),
        last_seen=max(seen) if seen else None,
        holds=tuple(holds for one in holders for holds in one.holds),
    )
