# SPDX-License-Identifier: Apache-2.0
"""What a hook tells a session: the mail of its agent that this session was not told of yet.

    >>> await digest.mail(settings, {"op": "mail", "host": "cursor", "session": "1f0c", ...})
    {'text': '1 task waits in your agentbus inbox, it is high priority. Call read_inbox.'}

Numbers only, as in every notice. What a session was told is remembered in a file before it is told,
whatever becomes of the hook or of the listener then. A word too few is better than the same word
twice.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import NO_SUCH_CONSUMER, NO_SUCH_STREAM, ApiError
from mcp_agentbus.config import settings as config
from mcp_agentbus.config.settings import Agent, Settings
from mcp_agentbus.core import ids as names
from mcp_agentbus.core import notices as notice
from mcp_agentbus.core.aio import both, together
from mcp_agentbus.core.files import write_whole
from mcp_agentbus.core.ids import TASKS
from mcp_agentbus.core.notices import Counts
from mcp_agentbus.core.processes import parent_of
from mcp_agentbus.errors import BadSetup
from mcp_agentbus.listener.desk import Desk
from mcp_agentbus.listener.members import Hub, Member
from mcp_agentbus.store import roster
from mcp_agentbus.wakes import demand as waiting
from mcp_agentbus.wakes.hosts.claude_session import current_session
from mcp_agentbus.wakes.policy import Waiting

#: Prefix of the ids with which `agentbus doctor` tries a hook; nothing told to them is remembered.
PROBE: Final = "doctor-"
#: A hook waits 0.3 s. What is not known by then is not told, and not remembered as told.
WITHIN_S: Final = 0.2
# More than a user has open; the session that asked least lately is forgotten first.
_SESSIONS_MAX: Final = 200
# What a session is told of one by one, and how much of what waits no more is remembered. The key of
# a high task or result has 130 bytes at most.
_KEYS_MAX: Final = 500
# Of so many new tasks in a lane their number is told; where more are new, that of all that wait.
_NEWER_MAX: Final = 50
# Lanes whose tasks have no key here: they wake nobody, and many may wait.
_QUIET: Final = ("normal", "low")


@dataclass(frozen=True)
class Lane:
    """The tasks of one lane that nobody was offered yet, seen by one session."""

    name: str
    #: When the stream was made: in another one all numbers begin anew.
    made: str
    #: The last task's sequence; tasks are offered in this order.
    last: int
    #: How many of them the session was not told of.
    new: int


@dataclass
class Told:
    """What one session was told."""

    #: Of high tasks and results: those that wait no more, then those that do.
    keys: list[str] = field(default_factory=list)
    #: Of a lane: when its stream was made, and the last task's sequence.
    marks: dict[str, tuple[str, int]] = field(default_factory=dict)
    #: Those of the keys that a hook told, and that no wake has counted as told yet.
    fresh: list[str] = field(default_factory=list)
    #: Whether a notice was the last to tell something; not kept.
    noticed: bool = field(default=False, compare=False)

    def mark(self, lane: str, made: str) -> int:
        """Return the sequence of the last task in a lane that the session was told of."""
        known, seq = self.marks.get(lane, ("", 0))
        return seq if known == made else 0

    def tell(self, things: tuple[Waiting, ...], lanes: tuple[Lane, ...]) -> Counts:
        """Remember these as told; return how many of them were not before."""
        known, wait = set(self.keys), [one.key for one in things]
        new = [one for one in things if one.key not in known]
        more = [one for one in lanes if one.last > self.mark(one.name, one.made)]
        gone = known - set(wait)
        self.keys = [*[one for one in self.keys if one in gone][-_KEYS_MAX:], *wait]
        self.fresh = [*[one for one in self.fresh if one in wait], *(one.key for one in new)]
        self.marks |= {one.name: (one.made, one.last) for one in more}
        high = sum(one.kind == "task" for one in new)
        others = sum(one.new for one in more)
        return Counts(high=high, others=others, results=len(new) - high)

    def notice(self, things: Sequence[Waiting]) -> None:
        """Remember these as told by a notice: each wake after it shall tell them anew."""
        fresh = set(self.fresh) - {one.key for one in things}
        self.tell(tuple(things), ())
        self.fresh, self.noticed = sorted(fresh), True

    def spare(self, keys: Collection[str]) -> bool:
        """Tell whether a hook has told all these, which stands for the notice of one wake."""
        if not keys or not set(keys) <= set(self.fresh):
            return False
        self.fresh = [one for one in self.fresh if one not in keys]
        return True


def text(new: Counts, *, first: bool) -> str:
    """Return what a session is told; empty if nothing is new."""
    if new == Counts():
        return ""
    said = notice.text(new)
    return said if first else f"New since the last notice: {said}"


class Digest:
    """Answers hooks."""

    def __init__(
        self,
        bus: Bus,
        hub: Hub,
        desks: Mapping[str, Desk],
        has_shown: Callable[[str, tuple[str, ...]], bool],
    ) -> None:
        self._bus, self._hub, self._desks = bus, hub, desks
        #: Whether a session that is served here was shown results.
        self._has_shown = has_shown
        self._memory = Memory(Path(bus.settings.runtime_dir) / "told.json")

    async def mail(self, settings: Settings, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return `text` for the session's model, if there is any mail that it was not told of.

        Args:
            settings: the listener's.
            request: `host`, `session` (the host's id), `folder` and `environ` of the hook;
                `urgent`: only high tasks and results; `looked`: a tool has just told the model
                all that waits.

        Raises:
            BadInput: the hook's process is on another bus.
            BadSetup: the configuration cannot be read.
            BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
        """
        host, session = request.get("host"), request.get("session")
        folder = request.get("folder")
        if not all(isinstance(one, str) for one in (host, session, folder)):
            return {}
        if not names.is_inbox(str(host)) or not names.is_label(str(session)):
            return {}
        theirs = config.neighbour(settings, request.get("environ"))
        member = self._member(str(session))
        me = config.who(theirs, member.agent if member else None, Path(str(folder)))
        member = member or self._only(me.id, str(host))
        with suppress(TimeoutError):
            async with asyncio.timeout(WITHIN_S):
                told = self._memory.of(f"{host} {session}")
                urgent, looked = request.get("urgent") is True, request.get("looked") is True
                found = await self._look(me, member, told, urgent=urgent)
                # From here on nothing is awaited: two hooks of a session may run at once.
                return self._say(told, me.id, *found, urgent=urgent, looked=looked)
        return {}

    def spares(self, members: Iterable[Member], keys: Collection[str]) -> bool:
        """Tell whether one of these sessions heard of all that from its hook, which counts once."""
        sessions = {_conversation(one) for one in members if one.host_session}
        return any(self._memory.spares(one, keys) for one in sorted(sessions))

    def noticed(self, member: Member, things: Sequence[Waiting]) -> None:
        """Remember that a notice has told a session of these."""
        if member.host_session:
            self._memory.of(_conversation(member)).notice(things[:_KEYS_MAX])
            self._memory.save()

    def _say(
        self,
        told: Told,
        agent: str,
        things: tuple[Waiting, ...],
        lanes: tuple[Lane, ...],
        *,
        urgent: bool,
        looked: bool,
    ) -> dict[str, Any]:
        first = told == Told()
        desk = self._desks.get(agent)
        woken = desk.unread if desk else frozenset()
        # The session that was told, or is started, for these reads them; or they are told later.
        others = tuple(one for one in things if one.key not in woken)
        if told.noticed and not urgent:
            # The notice has just named the numbers of all that waits, in the other lanes as well.
            looked, told.noticed = looked or len(others) < len(things), False
        new = told.tell(others[:_KEYS_MAX], lanes)
        if new != Counts():
            self._memory.save()
        said = "" if looked else text(new, first=first)
        return {"text": said} if said else {}

    def _member(self, session: str) -> Member | None:
        """Return the process that is of a host's session, which may have a new id since it came."""
        for one in self._hub.members:
            if one.host_session == session:
                return one
        for one in self._hub.members:
            host = parent_of(one.pid) if one.host == "claude-code" else 0
            if host and current_session(host, self._bus.settings.environ) == session:
                one.host_session = session
                return one
        return None

    def _only(self, agent: str, host: str) -> Member | None:
        """Return an agent's session in a host that tells its servers no id, if it is the only."""
        here = self._hub.of(agent)
        one = here[0] if len(here) == 1 else None
        return one if one and one.host == host and not one.host_session else None

    async def _look(
        self, me: Agent, member: Member | None, told: Told, *, urgent: bool
    ) -> tuple[tuple[Waiting, ...], tuple[Lane, ...]]:
        """Return the high tasks and results, and the other lanes, that wait for this session."""
        if not await self._bus.reconnected(0):
            return (), ()
        try:
            states = await together(*map(self._stored, me.inboxes))
        except ApiError as error:
            if error.code == NO_SUCH_STREAM:  # of all reads only this one says so at once
                return (), ()
            raise
        stored = dict(zip(me.inboxes, states, strict=True))
        quiet = [] if urgent else [(inbox, lane) for inbox in me.inboxes for lane in _QUIET]
        looked, lanes = await both(
            waiting.look(self._bus, me.id, me.inboxes),
            together(*(self._lane(*one, *stored[one[0]], told) for one in quiet)),
        )
        things = await self._shown_here(me.id, member, looked.things)
        return things, tuple(one for one in lanes if one)

    async def _stored(self, inbox: str) -> tuple[str, dict[str, int]]:
        """Return when the stream was made, and how many tasks it holds of an inbox, by subject."""
        wanted = {"subjects_filter": names.task_subject(inbox, "*", "*")}
        info = await self._bus.admin.api(f"STREAM.INFO.{TASKS}", wanted)
        return str(info["created"]), info["state"].get("subjects") or {}

    async def _lane(
        self, inbox: str, lane: str, made: str, stored: Mapping[str, int], told: Told
    ) -> Lane | None:
        """Return a lane in which tasks wait; None if none does."""
        name, subject = names.lane_consumer(inbox, lane), names.task_subject(inbox, lane, "*")
        pending = sum(n for one, n in stored.items() if one.startswith(subject.removesuffix("*")))
        offered = 0
        try:
            info = await self._bus.api(f"CONSUMER.INFO.{TASKS}.{name}") if pending else None
        except ApiError as error:
            # An agent that was registered and has never read has no consumers yet.
            if error.code != NO_SUCH_CONSUMER:
                raise
        else:
            if info:
                offered, pending = int(info["delivered"]["stream_seq"]), int(info["num_pending"])
        last = await self._bus.admin.last(TASKS, subject) if pending else None
        if not last:
            return None
        mark = told.mark(name, made)
        if offered < mark < last.seq:  # some of those that wait were told
            request = {"seq": mark + 1, "batch": _NEWER_MAX, "next_by_subj": subject}
            newer = len(await self._bus.admin.many(TASKS, request))
            pending = newer if newer < _NEWER_MAX else pending
        return Lane(name, made, last.seq, pending)

    async def _shown_here(
        self, agent: str, member: Member | None, things: tuple[Waiting, ...]
    ) -> tuple[Waiting, ...]:
        """Leave out the results that another live session is shown, or that this one was."""
        # A session may have more processes than one here, such as a plugin's monitor.
        here = [one for one in self._hub.members if member and _is_with(one, member)]
        mine = {"", *(one.session for one in here)}
        foreign = any(one.session not in mine for one in things)
        live = await roster.live_sessions(self._bus, agent) if foreign else frozenset()
        return tuple(
            one
            for one in things
            if one.session in mine or one.session not in live
            if one.kind != "result" or not any(self._has_shown(s, (one.task_id,)) for s in mine)
        )


class Memory:
    """What sessions were told: a 0600 file of this listener, as it was last read and written."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._told: dict[str, Told] | None = None

    def of(self, session: str) -> Told:
        """Return what a session was told; it is to be changed in place."""
        if session.partition(" ")[2].startswith(PROBE):
            return Told()
        everything = self._all()
        told = everything[session] = everything.pop(session, Told())
        while len(everything) > _SESSIONS_MAX:
            del everything[next(iter(everything))]
        return told

    def spares(self, session: str, keys: Collection[str]) -> bool:
        """Do as `Told.spare` for a session, and keep it."""
        told = self._all().get(session)
        spares = told is not None and told.spare(keys)
        if spares:
            self.save()
        return spares

    def save(self) -> None:
        """Keep it for the next listener; one that cannot tells some things again."""
        known = {
            session: {"keys": told.keys, "marks": told.marks, "fresh": told.fresh}
            for session, told in self._all().items()
            if told != Told()
        }
        with suppress(OSError):
            content = json.dumps(known, separators=(",", ":")).encode()
            write_whole(self._file, content, durable=False)

    def _all(self) -> dict[str, Told]:
        if self._told is None:
            self._told = self._load()
        return self._told

    def _load(self) -> dict[str, Told]:
        try:
            config.check_private(self._file)
            found = json.loads(self._file.read_text(encoding="utf-8"))
            return {session: _told(one) for session, one in found.items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError, BadSetup):
            return {}


def _told(kept: dict[str, Any]) -> Told:
    marks = {lane: (str(made), int(seq)) for lane, (made, seq) in kept["marks"].items()}
    keys, fresh = ([str(key) for key in kept[name]] for name in ("keys", "fresh"))
    return Told(keys, marks, fresh)


def _conversation(member: Member) -> str:
    """Return the name of a session as its hooks know it."""
    return f"{member.host} {member.host_session}"


def _is_with(one: Member, member: Member) -> bool:
    return one is member or one.host_session == member.host_session != ""
