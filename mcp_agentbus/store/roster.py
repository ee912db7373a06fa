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

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, get_args
from weakref import WeakKeyDictionary

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.login.account import NotGranted
from mcp_agentbus.bus.replies import NO_SUCH_STREAM, ApiError, Found, server_time
from mcp_agentbus.core import ids, text
from mcp_agentbus.core.aio import both, together
from mcp_agentbus.core.ids import ANY_SENDER, WAKE_ON, Agent, Priority
from mcp_agentbus.core.notices import WHY, Holds
from mcp_agentbus.store import records, streams, subjects
from mcp_agentbus.store.queries.clock import has_come
from mcp_agentbus.store.queries.copies import Copy, copy_of
from mcp_agentbus.store.queries.signs import Sign, signs_of_life
from mcp_agentbus.store.records import Key
from mcp_agentbus.store.registered.presence import AWAY, PresenceState
from mcp_agentbus.store.registered.profile import Profile, decode_profile, latest
from mcp_agentbus.store.steps import Write
from mcp_agentbus.store.subjects import AGENTS, PRESENCE, RESULTS
from mcp_agentbus.store.task import CLAIM_MAX_S, HELD, Record, Undecodable

# A session says this often that it lives; it counts as gone after `streams.PRESENCE_S`.
BEAT_S: Final = 5
# How old `last_seen` may get while a session lives, so that a crash leaves a fair date.
TOUCH_S: Final = 300
# Each command of a shell registers its agent, and waits until that is on the disk.
_SEEN_AGAIN: Final = timedelta(seconds=30)
# A new bus has all its streams made within this time; one that lives in memory is made again at
# each start of the server.
_MADE_TOGETHER: Final = timedelta(seconds=1)


@dataclass(frozen=True)
class Entry:
    """What is known of one agent or role."""

    id: str
    state: PresenceState
    last_seen: datetime | None = None
    registered_at: datetime | None = field(default=None, compare=False)
    hosts: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    description: str = ""
    #: What each of its listeners says of wakes; none without a listener.
    holds: tuple[Holds, ...] = ()
    #: As `Agent.accept_from`; of a role, of all that hold it, each of which takes its own.
    accept_from: tuple[str, ...] = (ANY_SENDER,)
    #: As `Profile.account`.
    account: str = ""

    def was_there(self, since: datetime) -> bool:
        """Tell whether it is there, or was since then; one that never was, whether it is as new."""
        if self.state in {"live session", "listening"}:
            return True
        at = self.last_seen or self.registered_at
        return at is not None and at >= since

    def wakes_on(self, priority: Priority) -> bool:
        """Tell whether tasks of a priority are to wake it, as far as its listeners have said."""
        return priority in WAKE_ON or any(priority in holds.wake_on for holds in self.holds)

    def held_for(self, sender: str, priority: Priority) -> str | None:
        """Return why such a wake would be held now; empty if it would not; None if unknown.

        One listener that would wake it is enough.
        """
        asked = [holds for holds in self.holds if priority in holds.wake_on]
        reasons = (holds.senders.get(sender, holds.everybodys) for holds in asked)
        # What another machine's listener says is one of our own reasons, or is not repeated.
        sentences = (WHY.get(why, "its listener holds wakes") if why else "" for why in reasons)
        return min(sentences, default=None)


async def register(
    bus: Bus, agent: Agent, now: datetime | None, lacks: Collection[str] = ()
) -> None:
    """Write or refresh the registration; `now` is None for an agent that has no session yet.

    Roles that it `lacks` it does not get, though it or its registration have them.

    Raises:
        BadInput: its description is too long.
        Others: as `Bus.publish`, but for Conflict.
    """
    ids.description(agent.description)

    def registered(old: Profile | None) -> Write[Profile] | None:
        told = None if agent.set_up else old
        roles = agent.roles or (told.roles if told else ())
        profile = Profile(
            id=agent.id,
            description=agent.description or (told.description if told else ""),
            roles=tuple(role for role in roles if role not in lacks),
            hosts=latest((*(old.hosts if old else ()), agent.host)),
            accept_from=agent.accept_from,
            registered_at=old.registered_at if old else now or datetime.now(UTC),
            last_seen=now or (old.last_seen if old else None),
        )
        return None if old and _says(old, profile) else Write(profile)

    await records.update(bus, _profile_key(agent.id), registered)


async def register_granted(bus: Bus, agent: Agent, now: datetime | None) -> frozenset[str]:
    """Register an agent as `register`, but for roles that its account was not granted.

    Return those of its own. One that its registration alone had, it is to have no more.

    Raises: as `register`.
    """
    lacks: set[str] = set()
    while True:
        try:
            await register(bus, agent, now, lacks)
        except NotGranted as error:
            if not error.role or error.role in lacks:
                raise
            lacks.add(error.role)
        else:
            return frozenset(lacks.intersection(agent.roles))


def _says(old: Profile, new: Profile) -> bool:
    """Tell whether a registration says already what a new one would; one of an account never does.

    Whose name it is there, the gate says to whoever writes.
    """
    if new.last_seen and not old.last_seen:
        return False
    ago = (new.last_seen - old.last_seen) if new.last_seen and old.last_seen else timedelta(0)
    seen = {"last_seen": new.last_seen}
    return timedelta(0) <= ago < _SEEN_AGAIN and old.model_copy(update=seen) == new


def _profile_key(agent: str) -> Key[Profile]:
    subject = subjects.profile_subject(agent)
    return Key(AGENTS, subject, _decoded, lambda profile: profile.model_dump_json().encode())


async def beat(
    bus: Bus, agent: Agent, session: str, *, leaving: bool = False, gone: bool = False
) -> None:
    """Say that a session lives, or that it ends. May be lost: the next one follows.

    Of one that was killed its listener says that it is `gone`: it is there no more, and what it
    holds is its own until it has not been heard of for a while.

    Raises:
        BusUnreachable: there is no connection.
    """
    said = {"kind": "session", "host": agent.host, "leaving": leaving, "gone": gone}
    await _say(bus, subjects.heartbeat_subject(agent.id, session), said)


async def beat_for(bus: Bus, agent: str, listener: str, holds: Holds | None) -> None:
    """Say that a listener looks after an agent, and why it would hold a wake; None: no longer.

    Raises:
        BusUnreachable: there is no connection.
    """
    said = {"kind": "listener", "leaving": holds is None, **(holds.said() if holds else {})}
    await _say(bus, subjects.heartbeat_subject(agent, listener), said)


async def _say(bus: Bus, subject: str, said: Mapping[str, Any]) -> None:
    await bus.send(subject, json.dumps(said).encode(), {})


async def registered(bus: Bus) -> frozenset[str]:
    """Return the ids of all agents that are registered.

    Raises:
        ApiError, BusUnreachable, NotAllowed: as `Bus.many`.
    """
    known = await _registrations(bus).read(bus)
    return frozenset(each.profile.id for each in known.values() if each)


async def registration(bus: Bus, agent: str) -> Profile | None:
    """Return what an agent has registered; None if it has not."""
    return (await records.read(bus, _profile_key(agent)))[0]


async def look(bus: Bus, inbox: str) -> Entry | None:
    """Return what is known of an agent or a role; None if nobody of that name is there."""
    if inbox.startswith(ids.ROLE_PREFIX):
        role = inbox.removeprefix(ids.ROLE_PREFIX)
        holders = [entry for entry in await everybody(bus) if role in entry.roles]
        return best(inbox, holders) if holders else None
    stored, theirs = records.read(bus, _profile_key(inbox)), signs_of_life(bus, inbox)
    (registered, _), signs = await both(stored, theirs)
    profile = registered or _newcomer(inbox, signs)
    if profile is None:
        return None
    entry = _entry(profile, signs)
    return _uncertain(entry) if entry.state in AWAY and await _has_forgotten(bus) else entry


async def live_sessions(bus: Bus, agent: str, *, killed: bool = True) -> frozenset[str]:
    """Return the ids of an agent's sessions with a sign of life; one that was `killed` has its."""
    signs = (sign for sign in await signs_of_life(bus, agent) if killed or not sign.gone)
    return frozenset(sign.session for sign in signs if sign.kind == "session")


async def may_live(bus: Bus, agent: str, session: str, *, killed: bool = True) -> bool:
    """Tell whether a session lives, or may live, as far as a server knows that was just started."""
    live = await live_sessions(bus, agent, killed=killed)
    return session in live or await _has_forgotten(bus)


async def may_hold(bus: Bus, record: Record) -> bool:
    """Tell whether a session holds a task, or may hold it, by the task's record.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    if record.state not in HELD or not record.session:
        return False
    if is_lease(record):
        place = record.owner, record.inbox, record.task_id
        # By the server's clock: its holder's may be hours off, as one set to another zone's time.
        kept = await bus.last(RESULTS, subjects.record_subject(*place))
        began = kept.stored_at if kept else record.updated_at
        return not await has_come(bus, began + timedelta(seconds=CLAIM_MAX_S))
    return await may_live(bus, record.agent, record.session)


async def are_held(bus: Bus, records: Sequence[Record]) -> list[bool]:
    """Tell of each of several tasks whether it is held, as `may_hold`, and ask of an agent once.

    Of one with many sessions the signs of life of all would come for each of them.
    """
    agents = sorted({each.agent for each in records if not is_lease(each)})
    signs = await together(*(live_sessions(bus, agent) for agent in agents))
    live = {(agent, each) for agent, some in zip(agents, signs, strict=True) for each in some}
    is_known = all(is_lease(each) or (each.agent, each.session) in live for each in records)
    forgotten = not is_known and await _has_forgotten(bus)
    leases = await together(*(may_hold(bus, each) for each in records if is_lease(each)))
    running = iter(leases)
    return [
        next(running) if is_lease(each) else forgotten or (each.agent, each.session) in live
        for each in records
    ]


def is_lease(record: Record) -> bool:
    """Tell whether a claim lasts a time: a shell gives no sign of life between two commands.

    Only the record says how long. The server offers the task to whoever reads, as one that nobody
    extends; what it was told to wait for, it might forget or keep beyond the lease.
    """
    return record.session.startswith(ids.SHELL_PREFIX)


# On which of its connections a bus was told that the server has heard from everybody.
_heard: WeakKeyDictionary[Bus, int] = WeakKeyDictionary()


async def _has_forgotten(bus: Bus) -> bool:
    """Tell whether the server was started anew, and has not heard from everybody since."""
    connection = bus.connections
    if _heard.get(bus) == connection:
        return False
    registrations = _registrations(bus).began(bus)
    try:
        presence, began = await both(bus.api(f"STREAM.INFO.{PRESENCE}"), registrations)
    except ApiError as error:
        if error.code == NO_SUCH_STREAM:  # it went with the server's memory
            return True
        raise
    made, now = server_time(str(presence["created"])), server_time(str(presence["ts"]))
    if led := (presence.get("cluster") or {}).get("leader_since"):
        # Several servers that were all restarted have the stream as it was made, and nothing in it.
        led_for, since_made = now - server_time(str(led)), server_time(str(led)) - made
        if led_for < timedelta(seconds=streams.PRESENCE_S) <= since_made:
            return True
    if now - made < timedelta(seconds=streams.PRESENCE_S):
        created, first = map(server_time, began)
        # Whoever registers has seen to both: what is older than the signs of life knew others.
        return made - created > _MADE_TOGETHER or created < first < made
    if bus.settings.url is None:  # a connection lasts no longer than a server that is alone
        _heard[bus] = connection
    return False


async def everybody(bus: Bus) -> list[Entry]:
    """Return all agents that are registered or live, by id; of `doctor` those that are at work."""
    known, (signs, forgotten) = await both(_registrations(bus).read(bus), _present(bus))
    signs_of: dict[str, list[Sign]] = {}
    for sign in signs:
        signs_of.setdefault(sign.agent, []).append(sign)
    registered = {each.profile.id: each for each in known.values() if each}
    entries = {agent: each.away for agent, each in registered.items()}
    for agent, theirs in signs_of.items():
        here = registered.get(agent)
        if profile := here.profile if here else _newcomer(agent, theirs):
            entries[agent] = _entry(profile, theirs)
    seen = (entry for _, entry in sorted(entries.items()))
    shown = [each for each in seen if not (each.id.startswith(ids.PROBE) and each.state in AWAY)]
    return [_uncertain(each) for each in shown] if forgotten else shown


async def _present(bus: Bus) -> tuple[list[Sign], bool]:
    """Return all signs of life, and whether more may live than those."""
    connection = bus.connections
    signs, forgotten = await both(signs_of_life(bus, "*"), _has_forgotten(bus))
    # Of a server that was started anew meanwhile it is asked again.
    return signs, forgotten if connection == bus.connections else await _has_forgotten(bus)


def _uncertain(entry: Entry) -> Entry:
    """Return what is known of an agent where the server has not heard from everybody."""
    is_unsure = entry.state in AWAY and entry.state != "removed"
    return replace(entry, state="not known") if is_unsure else entry


class _Registered(NamedTuple):
    """A registration, and what is known of an agent of which it is all that is known."""

    profile: Profile
    away: Entry


def _registrations(bus: Bus) -> Copy[_Registered | None]:
    """Return the copy of all registrations; one that cannot be read, and is nobody's, is None."""
    return copy_of(bus, AGENTS, subjects.profile_subject("*"), _kept)


def _kept(stored: Found) -> _Registered | None:
    with suppress(Undecodable):
        return _Registered(profile := _decoded(stored), _entry(profile, ()))
    return None


def _decoded(stored: Found) -> Profile:
    if (profile := decode_profile(stored)).forgotten:
        raise Undecodable("it is an agent no more")
    return profile


def _newcomer(agent: str, signs: Iterable[Sign]) -> Profile | None:
    """Return who an agent is that has called no tool yet; None unless a session of it lives."""
    sessions = [sign for sign in signs if sign.kind == "session"]
    hosts = latest(sign.host for sign in sessions if sign.host)
    return Profile(id=agent, hosts=hosts, registered_at=text.now()) if sessions else None


def _entry(profile: Profile, signs: Sequence[Sign]) -> Entry:
    if profile.removed:  # what its sessions have said last may be there for a moment yet
        signs = ()
    # Of one that lives the registration says it late, and before its first call not at all.
    beats = [sign.at for sign in signs if sign.kind == "session" and not sign.gone]
    away: PresenceState = "offline" if profile.last_seen else "never seen"
    state: PresenceState = "removed" if profile.removed else away
    if beats or any(sign.kind == "listener" for sign in signs):
        state = "live session" if beats else "listening"
    return Entry(
        id=profile.id,
        state=state,
        last_seen=max([*beats, *filter(None, [profile.last_seen])], default=None),
        registered_at=profile.registered_at,
        hosts=profile.hosts,
        roles=profile.roles,
        description=profile.description,
        holds=tuple(sign.holds for sign in signs if sign.kind == "listener"),
        accept_from=profile.accept_from,
        account=profile.account,
    )


def best(inbox: str, holders: Sequence[Entry]) -> Entry:
    """Return one entry for a role: the liveliest state of those who hold it."""
    order: tuple[PresenceState, ...] = get_args(PresenceState)
    return Entry(
        id=inbox,
        state=next(state for state in order if any(entry.state == state for entry in holders)),
        last_seen=max((each.last_seen for each in holders if each.last_seen), default=None),
        holds=tuple(holds for entry in holders for holds in entry.holds),
        accept_from=tuple({who for each in holders for who in (each.id, *each.accept_from)}),
    )
