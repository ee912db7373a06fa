# SPDX-License-Identifier: Apache-2.0
"""What all parts of a listener share: the bus, the ledger, who is here, how things stand.

    state = State(settings, bus, ledger, emit=log)
    if await state.reachable():
        state.desks["coder"].changed.set()

It is made first and whole, and handed to `relayed`, `digest`, `runner`, `loop` and `requests`. It
decides nothing.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from mcp_agentbus.archive.ear import Ear
from mcp_agentbus.archive.keeper import Keeper
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.own.revival import Revival
from mcp_agentbus.bus.replies import ApiError
from mcp_agentbus.config import identity
from mcp_agentbus.config.identity import Asked, Identity
from mcp_agentbus.config.settings import Settings, neighbour_settings
from mcp_agentbus.config.watcher import Watcher
from mcp_agentbus.core.aio import by_portions, together
from mcp_agentbus.core.ids import WAKE_ON, Agent, Priority
from mcp_agentbus.errors import AgentbusError, BusUnreachable, NotAllowed, Refused, Unconfirmed
from mcp_agentbus.handoff import shells
from mcp_agentbus.handoff.ends import news
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.human.teller import Teller
from mcp_agentbus.listener.desk import Desk
from mcp_agentbus.listener.members import Members
from mcp_agentbus.relay.member import AGAIN_S
from mcp_agentbus.store import roster
from mcp_agentbus.store.outbox.outbox import Outbox
from mcp_agentbus.store.own_name import Naming
from mcp_agentbus.store.streams import PRESENCE_S
from mcp_agentbus.wakes import demand
from mcp_agentbus.wakes.demand import Demand
from mcp_agentbus.wakes.facts import Waiting
from mcp_agentbus.wakes.ledger import Ledger, LedgerBroken

if TYPE_CHECKING:
    from mcp_agentbus.listener.endpoint import Door

# A relay waits for a second to be told who it is; the roster answers in milliseconds.
_IDENTIFIED_S: Final = 0.3
# How often to ask whether a role is granted; nobody tells that one was given or taken away.
_GRANTED_AGAIN_S: Final = 300.0
#: The steps of a listener, as its log names them; tests stop at them.
Event = Literal[
    "listening",  # it takes connections from now on
    "deaf",  # nobody reaches it any more: its socket cannot be made anew
    "stopped",
    "away",  # there is no bus
    "back",
    "bus",  # an agent could not be looked at, or registered
    "failed",  # inside, which is a bug; or a library complains
    "let_go",  # a task that had fallen due and kept back all others
    "ledger",  # wakes cannot be recorded, or were dated anew
    "outbox",  # what was sent while the bus was out of reach was handed on, or is not
    "archive",  # what became of tasks cannot be kept
    "human",  # a person was told what needs one, or could not be told
    "config",  # config.toml cannot be read
    "configured",  # an agent's rules have changed
    "ready",  # an agent is registered, and heard of what is stored for it
    "closed",  # nobody needs an agent's desk any more
    "joined",  # a session
    "left",
    "held",  # a look found something, and woke nobody for it
    "decided",  # a look found something to wake the agent for
    "noted",  # the ledger knows of that wake
    "started",  # a process runs
    "known",  # the ledger knows of that process
    "ended",  # a wake
    "recorded",  # the ledger knows of that end
    "adopted",  # a wake of a listener that was killed was taken over, or found to be over
    "read",  # a wake led to a read
    "unread",
]
#: Told of each step: its name, the agent if it is about one, ids and numbers.
Emit = Callable[[Event, str, Mapping[str, Any]], None]


class State:
    """What all parts of one listener share."""

    def __init__(self, settings: Settings, bus: Bus, ledger: Ledger, emit: Emit) -> None:
        self.bus, self.ledger, self.emit = bus, ledger, emit
        #: What the user has set, as it could be read last.
        self.watcher = Watcher(settings)
        self.members = Members()
        #: Keeps what is sent while the bus is out of reach; None where there is nothing to keep.
        self.outbox = Outbox.of(settings)
        #: Starts this user's own server again.
        self.revival = Revival(settings)
        #: Keeps what becomes of tasks.
        ear = Ear(bus)
        self.keeper = Keeper(bus, self.watcher, ear, lambda about: emit("archive", "", about))
        #: Tells a person what needs one.
        self.teller = Teller(
            bus, self.watcher, ear, lambda about: emit("human", "", about), self.of_this_machine
        )
        #: By agent; `loop` opens and closes them.
        self.desks: dict[str, Desk] = {}
        #: The sessions that are served here, by id; `relayed` begins and ends them.
        self.sessions: dict[str, Session] = {}
        # Names that this machine knows, and that are not its account's on this bus.
        self._anothers: frozenset[str] = frozenset()
        self.began = datetime.now(UTC)
        #: Whether it was told to end: then nobody is started any more.
        self.is_ending = False
        #: Since when there is no bus; None if there is one.
        self.away_since: datetime | None = None
        #: Why wakes cannot be recorded; empty if they can.
        self.ledger_says = ""
        #: Where sessions reach this listener.
        self.door: Door | None = None
        #: Why they do not; empty if they do.
        self.door_says = ""
        # Until when a session may yet join that could not reach it; monotonic.
        self._rejoined_by = 0.0

    @property
    def settings(self) -> Settings:
        """What the user has set; the rules and agents of it may change."""
        return self.watcher.settings

    def check_stays(self) -> None:
        """See that the listener was not told to end.

        Raises:
            Refused: it was.
        """
        if self.is_ending:
            raise Refused(
                "The listener is ending, and starts nobody any more.",
                hint="Run the same again once it has ended: `agentbus listen --status` says "
                "whether another one runs.",
            )

    def inboxes(self, agent: str) -> tuple[str, ...]:
        """Return the inboxes that an agent reads."""
        return self.granted(self.me(agent)).inboxes

    def granted(self, me: Agent) -> Agent:
        """Return an agent without the roles that its account was not granted."""
        desk = self.desks.get(me.id)
        return me.without(desk.ungranted) if desk else me

    def granted_s(self, agent: str) -> float:
        """Return for how long it counts which roles an account grants an agent, in seconds.

        One that was taken away and is given back is on the roster once it is registered again.
        """
        may_change = self.settings.account and self.me(agent).roles
        return _GRANTED_AGAIN_S if may_change else math.inf

    def me(self, agent: str) -> Agent:
        """Return an agent as its user has set it up, else as its sessions here say of themselves.

        What a folder's file says of it counts for them alone: config.toml knows nothing of it.
        """
        known = self.settings.agents.get(agent)
        return known or Agent(agent, roles=self.members.roles_of(agent))

    def wake_on(self, agent: str) -> tuple[Priority, ...]:
        """Return the priorities of tasks that wake an agent."""
        rules = self.settings.rules.get(agent)
        return rules.wake_on if rules else WAKE_ON

    async def look(self, agent: str) -> Demand:
        """Return what waits for an agent, and what of it may wake it.

        A result that a session of it here has shown waits no more, though no call has told yet
        that it has arrived.

        Raises: as `demand.look`.
        """
        known, wake_on = self.of_this_machine(), self.wake_on(agent)
        looked = await demand.look(self.bus, agent, self.inboxes(agent), known, wake_on)
        return await self._but_shown(agent, await self._judged(agent, looked))

    async def look_for_urgent(self, agent: str) -> Demand:
        """Return the same of tasks in lanes that wake, alone.

        Raises: as `demand.look`.
        """
        known, wake_on = self.of_this_machine(), self.wake_on(agent)
        inboxes = self.inboxes(agent)
        looked = await demand.look_for_urgent(self.bus, inboxes, known, wake_on)
        return await self._judged(agent, looked)

    async def _judged(self, agent: str, looked: Demand) -> Demand:
        await self.tell_own_apart(looked.things)
        return await demand.judged(self.bus, self.me(agent), looked)

    async def tell_own_apart(self, things: Collection[Waiting]) -> None:
        """Find out which names of this user's agents are another account's on this bus.

        This machine may have had one on another bus, or have forgotten it, before it was taken.

        Raises:
            BusUnreachable, Unconfirmed, NotAllowed: as `roster.registration`.
        """
        account = self.settings.account
        if not account:
            return
        names = sorted({thing.sender for thing in things} & self.of_this_machine())
        found = await by_portions(partial(roster.registration, self.bus), names)
        own = {name for name, it in zip(names, found, strict=True) if it and it.account == account}
        self._anothers = (self._anothers | set(names)) - own

    async def register_lost(self) -> None:
        """Register the agents of this user's rules that the roster has lost, as with its stream.

        Of a session its own next call does so; of an agent without one nobody else.
        """
        if not self.settings.rules:
            return
        with suppress(AgentbusError, TimeoutError):  # it is seen to again in a minute
            lost = self.settings.rules.keys() - await roster.registered(self.bus)
            for agent in sorted(lost & self.settings.rules.keys()):
                with suppress(Refused):  # as each time, of one: the others are registered
                    lacks = await roster.register_granted(self.bus, self.me(agent), None)
                    if desk := self.desks.get(agent):
                        desk.ungranted |= lacks

    async def reachable(self) -> bool:
        """Tell whether there is a bus; looking starts none."""
        is_there = await self.bus.reconnected(0)
        if is_there == bool(self.away_since):
            self.away_since = None if is_there else datetime.now(UTC)
            self.emit("back" if is_there else "away", "", {})
        return is_there

    def became_deaf(self, why: str) -> None:
        """Remember, and say once, that nobody reaches this listener."""
        if why != self.door_says:
            self.door_says = why
            self.emit("deaf", "", {"error": why})

    def became_heard(self, deaf_s: float) -> None:
        """Note that it is reached again, after so many seconds at most.

        Sessions try in steps of `AGAIN_S`, none more than twice as long as all before it: each that
        lives joins within that, and a little.
        """
        self.door_says = ""
        self._rejoined_by = time.monotonic() + min(2 * deaf_s, AGAIN_S[-1]) + AGAIN_S[1]
        self.emit("listening", "", {"pid": os.getpid()})

    def for_somebody(self, agent: str, things: tuple[Waiting, ...]) -> tuple[Waiting, ...]:
        """Leave out the notices that are for a session which is not here."""
        able = (member for member in self.members.of(agent) if member.can_nudge)
        here = {self.members.session_of(member).session for member in able}
        return tuple(thing for thing in things if not thing.live_only or thing.session in here)

    def trusted(self) -> frozenset[str] | None:
        """Return who is of this user on this machine; on the embedded server everybody is: None."""
        return None if self.settings.url is None else self.of_this_machine() - self._anothers

    def unsure_s(self, agent: str) -> float:
        """Return for how long an agent may have a session here that has not joined yet; 0: no.

        One that lives for less than 2 s, or that could not reach this listener.
        """
        if self.door and not self.door.is_open:
            return AGAIN_S[1]
        until = max(self._rejoined_by, self.members.arrived_by(agent))
        return max(0.0, until - time.monotonic())

    def awaited_s(self, agent: str, means: Literal["nudge", "start"], *, rejoins: bool) -> float:
        """Return for how long such a wake is put off, for who may be about to join; 0: not.

        A session that is here needs no start; its monitor shows a notice better than its server.
        """
        if means == "nudge":
            return self.members.monitor_comes_s(agent)
        unsure_s = self.unsure_s(agent)
        return AGAIN_S[1] if rejoins and not unsure_s else unsure_s

    async def may_rejoin(self, agent: str) -> bool:
        """Tell whether a session of an earlier listener may be about to join this one.

        Raises: as `roster.look`.
        """
        age = datetime.now(UTC) - self.began
        if age.total_seconds() > PRESENCE_S or self.members.of(agent):
            return False
        entry = await roster.look(self.bus, agent)
        return entry is not None and entry.state == "live session"

    def naming(self, theirs: Settings, request: Mapping[str, Any]) -> Naming:
        """Return how a process here comes by its name, which has sent its `folder` and `agent`.

        `theirs` are its settings, of its own environment. Of a command it has sent `is_persons`.
        """
        agent, folder = request.get("agent"), Path(str(request.get("folder")))
        is_persons = request.get("is_persons") is True
        asked = Asked(theirs, str(agent) if agent else None, folder, is_persons)
        here = self.of_this_machine() if theirs.url else frozenset()
        return Naming(asked, here, self._silent)

    async def named(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what a session joins with, under the name that it has by now.

        Raises:
            BadInput, BadSetup: as `identity.who`, and as `neighbour_settings`.
        """
        if session := self.sessions.get(str(request.get("session"))):
            return {**request, "agent": session.me.id, "roles": session.me.roles}
        if "folder" not in request:
            return request
        theirs = neighbour_settings(self.settings, request.get("environ"))
        given = {**request, "agent": request.get("given")}
        me = (await self.identified(self.naming(theirs, given))).me
        return {**request, "agent": me.id, "roles": me.roles}

    async def identified(self, naming: Naming) -> Identity:
        """Tell who a process is, without taking its name; without the bus as far as that goes.

        Raises:
            BadInput, BadSetup: as `identity.who`.
        """
        with suppress(BusUnreachable, Unconfirmed, NotAllowed, ApiError, TimeoutError):
            async with asyncio.timeout(_IDENTIFIED_S):
                if await self.bus.reconnected(0):
                    return await naming.look(self.bus)
        return identity.provisional(naming.asked)

    def of_this_machine(self) -> frozenset[str]:
        """Return the agents that are known to be of this user on this machine."""
        known = {*self.settings.agents, *shells.agents(self.settings)}
        with suppress(LedgerBroken):
            known |= self.ledger.remembered()
        return frozenset(known)

    def _silent(self) -> frozenset[str]:
        """Return the live sessions that have called no tool."""
        return frozenset(member.session for member in self.members.sessions if not member.called_at)

    def called(self, session: str) -> None:
        """Note that a tool was called in a session: it may have read what it was woken for."""
        if member := self.members.get(session):
            member.called_at = time.monotonic()
            desk = self.desks.get(member.agent)
            if desk and desk.notified:
                desk.changed.set()

    async def _but_shown(self, agent: str, looked: Demand) -> Demand:
        asked = {thing.shown_as for thing in looked.things if thing.kind != "task"}
        if not asked:
            return looked
        here = self.members.of(agent)
        shown = await together(*(self.shown(member.session, asked) for member in here))
        seen = frozenset[str]().union(*shown)
        read = Counter(
            thing.kind for thing in looked.things if thing.kind != "task" and thing.shown_as in seen
        )
        things = tuple(
            thing for thing in looked.things if thing.kind == "task" or thing.shown_as not in seen
        )
        results, answers = looked.counts.results, looked.counts.answers
        counts = replace(
            looked.counts, results=results - read["result"], answers=answers - read["answer"]
        )
        return replace(looked, counts=counts, things=things)

    async def shown(self, session_id: str, things: Collection[str]) -> frozenset[str]:
        """Return those of these that a session of this machine was shown, as `news.shown`."""
        if session := self.sessions.get(session_id):
            return news.shown(session, things)
        member = self.members.get(session_id)
        return await self.members.shown(member, things) if member and things else frozenset()

    def tidy_ledger(self) -> None:
        """Have the ledger go on by the clock as it is, also after that was ahead."""
        with suppress(LedgerBroken):  # of which whoever looks for an agent tells
            if dated := self.ledger.tidy(datetime.now(UTC)):
                what = f"{dated} wakes were of a clock that was ahead; they count as of now"
                self.emit("ledger", "", {"what": what})

    def ledger_broke(self, error: LedgerBroken) -> None:
        """Remember, and say once, that wakes cannot be recorded."""
        if str(error) != self.ledger_says:
            self.ledger_says = str(error)
            self.emit("ledger", "", {"error": str(error)})
