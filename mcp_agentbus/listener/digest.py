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
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import NO_SUCH_CONSUMER, NO_SUCH_STREAM, ApiError
from mcp_agentbus.config import identity
from mcp_agentbus.config.settings import Settings, neighbour_settings
from mcp_agentbus.core import hosts, ids, notices
from mcp_agentbus.core.aio import both, together
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.core.notices import Counts
from mcp_agentbus.core.processes import parent_of
from mcp_agentbus.listener.desk import Desk
from mcp_agentbus.listener.members import Hub, Member
from mcp_agentbus.listener.memory import _KEYS_MAX, Lane, Memory, Told, conversation
from mcp_agentbus.store import roster, subjects
from mcp_agentbus.store.subjects import TASKS
from mcp_agentbus.wakes import demand
from mcp_agentbus.wakes.hosts.claude_session import current_session
from mcp_agentbus.wakes.policy import Waiting

#: A hook waits 0.3 s. What is not known by then is not told, and not remembered as told.
WITHIN_S: Final = 0.2
# Of so many new tasks in a lane their number is told; where more are new, that of all that wait.
_NEWER_MAX: Final = 50
# Lanes whose tasks have no key here: they wake nobody, and many may wait.
_QUIET: Final = ("normal", "low")


def text(new: Counts, *, first: bool) -> str:
    """Return what a session is told; empty if nothing is new."""
    if new == Counts():
        return ""
    said = notices.text(new)
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
        if not ids.is_inbox(str(host)) or not ids.is_label(str(session)):
            return {}
        theirs = neighbour_settings(settings, request.get("environ"))
        member = self._member(str(session))
        me = identity.who(theirs, member.agent if member else None, Path(str(folder)))
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
        sessions = {conversation(one) for one in members if one.host_session}
        return any(self._memory.spares(one, keys) for one in sorted(sessions))

    def noticed(self, member: Member, things: Sequence[Waiting]) -> None:
        """Remember that a notice has told a session of these."""
        if member.host_session:
            self._memory.of(conversation(member)).notice(things[:_KEYS_MAX])
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
            host = parent_of(one.pid) if hosts.named(one.host).notes_sessions else 0
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
            demand.look(self._bus, me.id, me.inboxes),
            together(*(self._lane(*one, *stored[one[0]], told) for one in quiet)),
        )
        things = await self._shown_here(me.id, member, looked.things)
        return things, tuple(one for one in lanes if one)

    async def _stored(self, inbox: str) -> tuple[str, dict[str, int]]:
        """Return when the stream was made, and how many tasks it holds of an inbox, by subject."""
        wanted = {"subjects_filter": subjects.task_subject(inbox, "*", "*")}
        info = await self._bus.admin.api(f"STREAM.INFO.{TASKS}", wanted)
        return str(info["created"]), info["state"].get("subjects") or {}

    async def _lane(
        self, inbox: str, lane: str, made: str, stored: Mapping[str, int], told: Told
    ) -> Lane | None:
        """Return a lane in which tasks wait; None if none does."""
        name, subject = subjects.lane_consumer(inbox, lane), subjects.task_subject(inbox, lane, "*")
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


def _is_with(one: Member, member: Member) -> bool:
    return one is member or one.host_session == member.host_session != ""
