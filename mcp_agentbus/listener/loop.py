# SPDX-License-Identifier: Apache-2.0
"""The listener's loop: whenever something stirs, it looks what waits for an agent of this machine.

    listener = Listener(settings, bus, ledger)
    await listener.run()

Signs (a stored task, a result, a session that comes or goes, the clock) only say which agent to
look at; what waits is read anew at each look, `policy` decides, the `ledger` knows before anything
is started. It takes nothing from an inbox, so it cannot race a reader.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from mcp_agentbus.bus.address import start_no_server
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Message
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.config.watcher import Watcher
from mcp_agentbus.core import ids, notices
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.core.notices import Counts
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.handoff import shell
from mcp_agentbus.listener.desk import Desk
from mcp_agentbus.listener.digest import Digest
from mcp_agentbus.listener.members import Hub, Member
from mcp_agentbus.listener.relayed import Commanding, Hosting
from mcp_agentbus.listener.requests import Answering
from mcp_agentbus.listener.runner import Emit, Waking
from mcp_agentbus.store import roster, streams, subjects
from mcp_agentbus.store.roster import Holds
from mcp_agentbus.store.subjects import AGENTS
from mcp_agentbus.wakes import demand, policy
from mcp_agentbus.wakes.hosts.protocol import Waker
from mcp_agentbus.wakes.hosts.registry import WAKERS
from mcp_agentbus.wakes.ledger import Ledger, LedgerBroken
from mcp_agentbus.wakes.policy import Facts, Hold, Waiting, Wake

#: How often an agent is looked at without a sign: tasks of dead sessions come back silently.
LOOK_AGAIN_S: Final = 30.0
#: A desk is closed when its agent has no rules, no session and no mail for so long.
IDLE_S: Final = 60.0
#: A session that waits in `watch_inbox` takes a task within this time and needs no notice.
GRACE_S: Final = 0.3
# Processes are ended within 5 s; the listener is gone within 10 s of being told to end.
_CLOSE_TIMEOUT_S: Final = 7.0
# How soon an agent is looked at again while another one is woken for a role that both hold.
_ROLE_AGAIN: Final = timedelta(seconds=2)


class Listener:
    """Looks after all agents of this user on this machine."""

    def __init__(
        self,
        settings: Settings,
        bus: Bus,
        ledger: Ledger,
        emit: Emit,
        wakers: Mapping[str, Waker] = WAKERS,
    ) -> None:
        self.settings, self.bus, self.ledger = settings, bus, ledger
        #: Told of each step, by name, agent and ids; for the log, and for tests to stop at.
        self.emit = emit
        self.hub = Hub(self._on_session, Answering(self).answer)
        self.hosting = Hosting(bus, self.hub.tell, self.hub.called)
        self.commanding = Commanding(bus)
        self.hub.streams = {"serve": self.hosting.serve, "command": self.commanding.run}
        self.id = ids.new_session_id()
        self.desks: dict[str, Desk] = {}
        self.began = datetime.now(UTC)
        self.digest = Digest(bus, self.hub, self.desks, self.hosting.has_shown)
        self.waking = Waking(
            settings, bus, ledger, hub=self.hub, emit=emit, wakers=wakers,
            has_shown=self.hosting.has_shown, telling=self.digest,
        )  # fmt: skip
        self.reloading = Watcher(settings)
        #: Since when there is no bus; None if there is one.
        self.away_since: datetime | None = None

    async def run(self) -> None:
        """Look after the agents until cancelled; then end what the rules say to end."""
        start_no_server()
        try:
            self.waking.adopt(self.desk)
            for agent in self.settings.rules:
                self.desk(agent)
            while True:
                self.reload()
                await self._present()
                if await self.reachable():
                    await self.waking.catch_up()
                await self._tidy()
                await asyncio.sleep(roster.BEAT_S)
        finally:
            await self.close()

    async def close(self) -> None:
        """Take no new work, end what runs, say that the listener leaves."""
        for desk in self.desks.values():
            for task in (desk.loop, desk.running):
                if task:
                    task.cancel()
        running = [task for one in self.desks.values() for task in (one.loop, one.running) if task]
        if running:
            await asyncio.wait(running, timeout=_CLOSE_TIMEOUT_S)
        self.hosting.leave()
        await self.hub.close()
        for desk in self.desks.values():
            with suppress(AgentbusError):
                await desk.signs.aclose()

    def desk(self, agent: str) -> Desk:
        """Return an agent's desk, opening it if need be."""
        if agent not in self.desks:
            desk = self.desks[agent] = Desk(agent)
            desk.loop = asyncio.create_task(self._keep(desk), name=f"desk-{agent}")
        return self.desks[agent]

    async def _tidy(self) -> None:
        """Close the desks that nobody has needed for a while; a sign of life opens one again."""
        now = time.monotonic()
        for desk in list(self.desks.values()):
            if self._needed(desk):
                desk.idle_since = None
                continue
            desk.idle_since = desk.idle_since or now
            if now - desk.idle_since < IDLE_S:
                continue
            del self.desks[desk.agent]
            if desk.loop:
                desk.loop.cancel()
                await asyncio.wait([desk.loop], timeout=_CLOSE_TIMEOUT_S)
            with suppress(AgentbusError):
                await desk.signs.aclose()
            self.emit("closed", desk.agent, {})

    def _needed(self, desk: Desk) -> bool:
        """Tell whether an agent has rules or a session, or anything waits or is under way."""
        return bool(
            desk.agent in self.settings.rules
            or self.hub.of(desk.agent)
            or desk.counts != Counts()
            or desk.told
            or desk.running
            or desk.left
            or desk.looking.locked()
        )

    def reload(self) -> None:
        """Take over what has changed in config.toml; what cannot be read changes nothing."""
        if not self.reloading.changed():
            return
        if self.reloading.says:
            self.emit("config", "", {"error": self.reloading.says})
        old, new = self.settings, self.reloading.settings
        self.settings = self.waking.settings = new
        for agent in {*old.rules, *new.rules}:
            before = (old.rules.get(agent), old.agents.get(agent))
            if before != (new.rules.get(agent), new.agents.get(agent)):
                self._reopen(self.desk(agent))

    def _reopen(self, desk: Desk) -> None:
        """Have a desk begin anew, with the rules of now; a wake that runs goes on."""
        if desk.loop:
            desk.loop.cancel()
        desk.loop = asyncio.create_task(self._keep(desk), name=f"desk-{desk.agent}")
        self.emit("configured", desk.agent, {})

    def _on_session(self, member: Member, what: str) -> None:
        desk = self.desk(member.agent)
        if what == "joined":  # before anything else, so that a kill from here on loses nothing
            self.hosting.tell_claims(member.session)
        if what != "called":
            self.emit(what, member.agent, {"pid": member.pid, "can_nudge": member.can_nudge})
        if what == "joined":
            with suppress(LedgerBroken):
                self.ledger.remember(member.agent, member.host_session)
        if what == "left":
            desk.left.append(member)
        if what != "called" or desk.told:
            desk.stirred.set()

    async def reachable(self) -> bool:
        """Tell whether there is a bus; a listener does not start one."""
        there = await self.bus.reconnected(0)
        if there == bool(self.away_since):
            self.away_since = None if there else datetime.now(UTC)
            self.emit("back" if there else "away", "", {})
        return there

    async def _present(self) -> None:
        """Publish who is here."""
        with suppress(AgentbusError):
            if not await self.reachable():
                return
            for desk in self.desks.values():
                if desk.agent in self.settings.rules or self.hub.of(desk.agent):
                    await roster.beat_for(self.bus, desk.agent, self.id, desk.holds)
            for member in self.hub.members:
                await roster.beat(self.bus, Agent(member.agent, member.host), member.session)

    async def _take_leave(self, desk: Desk) -> None:
        """Say that sessions are gone which have ended without a call of a tool.

        One that has called says so itself, or was killed, maybe with tasks that the server offers
        again only later: until its last sign of life is forgotten it counts as there, so that
        nobody is woken for them too soon. Whose agent is not registered has called none.
        """
        while desk.left:
            gone = desk.left.pop()
            with suppress(AgentbusError, TimeoutError):  # it is forgotten in 15 s all the same
                if await self.bus.last(AGENTS, subjects.profile_subject(gone.agent)) is None:
                    me = Agent(gone.agent, gone.host)
                    await roster.beat(self.bus, me, gone.session, leaving=True)

    async def _keep(self, desk: Desk) -> None:
        """Look at one agent whenever something stirs."""
        start_no_server()
        await self._open(desk)
        while True:
            desk.stirred.clear()
            try:
                if await self.reachable():
                    await self._take_leave(desk)
                    await self.look(desk)
            except LedgerBroken as error:
                self.waking.ledger_broke(error)
            except (AgentbusError, TimeoutError) as error:
                self.emit("bus", desk.agent, {"error": type(error).__name__})
            pause = LOOK_AGAIN_S
            if desk.until:
                pause = min(pause, max(0.05, (desk.until - datetime.now(UTC)).total_seconds()))
            if desk.told:
                pause = min(pause, 5.0)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await desk.stirred.wait()

    async def _open(self, desk: Desk) -> None:
        """Register the agent and hear its signs, once there is a bus."""
        rules = self.settings.rules.get(desk.agent)
        known = self.settings.agents.get(desk.agent, Agent(desk.agent))

        def stirred(_: Message | None) -> None:
            desk.stirred.set()

        def answered(_: Message | None) -> None:
            # A result wakes a live session that can be told, or an agent that may be started.
            if rules or any(one.can_nudge for one in self.hub.of(desk.agent)):
                desk.stirred.set()

        while True:
            try:
                while not await self.bus.reconnected(LOOK_AGAIN_S):
                    pass
                await desk.signs.aclose()
                await streams.ensure_streams(self.bus)
                if rules:
                    await roster.register(self.bus, known, None)
                for inbox in self.inboxes(desk.agent):
                    await streams.ensure_inbox(self.bus, inbox)
                    subject = subjects.wake_subject(inbox, "high")
                    await desk.signs.enter_async_context(self.bus.subscribed(subject, stirred))
                await streams.ensure_sender(self.bus, desk.agent)
                mine = subjects.record_subject(desk.agent, "*", "*")
                await desk.signs.enter_async_context(self.bus.subscribed(mine, answered))
            except (AgentbusError, TimeoutError) as error:
                self.emit("bus", desk.agent, {"error": type(error).__name__})
                await asyncio.sleep(1)
            else:
                await self._present()
                self.emit("ready", desk.agent, {})
                return

    def inboxes(self, agent: str) -> tuple[str, ...]:
        """Return the inboxes that an agent reads, as far as config.toml says."""
        return self.settings.agents.get(agent, Agent(agent)).inboxes

    async def look(self, desk: Desk) -> None:
        """Look what waits for an agent, and wake it if it is to be woken."""
        async with desk.looking:
            await self._look(desk)

    async def _look(self, desk: Desk) -> None:
        things, decision = await self._decide(desk)
        if isinstance(decision, Wake) and decision.means == "nudge":
            await asyncio.sleep(GRACE_S)
            things, decision = await self._decide(desk)
        await self._act(desk, decision, {one.key: one for one in things})

    async def _decide(self, desk: Desk) -> tuple[tuple[Waiting, ...], Wake | Hold]:
        """Return what waits, and what is to be done about it at this moment."""
        ran = desk.running is not None
        looked = await demand.look(self.bus, desk.agent, self.inboxes(desk.agent))
        # From here on nothing is awaited until a wake has begun: two desks may share a role.
        desk.counts = looked.counts
        things = self._for_somebody(desk, looked.things)
        if not ran:  # else the look may be older than what was read
            self._harvest(desk, frozenset(one.key for one in things))
        facts = self._facts(desk, things)
        decision = policy.decide(facts)
        if isinstance(decision, Hold) and len(facts.waiting) < len(things):
            again = datetime.now(UTC) + _ROLE_AGAIN
            decision = replace(decision, until=min(decision.until or again, again))
        return things, decision

    def _for_somebody(self, desk: Desk, things: tuple[Waiting, ...]) -> tuple[Waiting, ...]:
        """Leave out the notices that are for a session which is not here."""
        here = {one.session for one in self.hub.of(desk.agent) if one.can_nudge}
        return tuple(one for one in things if not one.live_only or one.session in here)

    def _facts(self, desk: Desk, things: tuple[Waiting, ...]) -> Facts:
        members = self.hub.of(desk.agent)
        now = datetime.now().astimezone()
        try:
            past, works = self.ledger.past(desk.agent, now), True
            self.waking.ledger_says = ""
        except LedgerBroken as error:
            past, works = (), False
            self.waking.ledger_broke(error)
        # By one that shares a role.
        elsewhere = {
            key for other in self.desks.values() if other is not desk for key in other.unread
        }
        return Facts(
            now=now,
            rules=self.settings.rules.get(desk.agent),
            waiting=tuple(one for one in things if one.key not in elsewhere),
            session="nudgeable" if any(one.can_nudge for one in members)
            else "deaf" if members else "none",
            running=desk.running is not None or bool(desk.told),
            past=past,
            trusted=self._trusted(),
            ledger_works=works,
        )  # fmt: skip

    def _trusted(self) -> frozenset[str] | None:
        """Return who is of this user on this machine; on the embedded server everybody is."""
        if self.settings.url is None:
            return None
        with suppress(LedgerBroken):
            return self.ledger.remembered() | {*self.settings.agents, *shell.agents(self.settings)}
        return frozenset(self.settings.agents)

    def _harvest(self, desk: Desk, there: frozenset[str]) -> None:
        """Note which wakes led to a read."""
        for wake, (keys, until) in list(desk.told.items()):
            read = bool(keys - there)
            if read or time.monotonic() >= until:
                del desk.told[wake]
                self.ledger.fruit(wake, read)
                self.emit("read" if read else "unread", desk.agent, {"wake": wake})

    async def _act(self, desk: Desk, decision: Wake | Hold, things: Mapping[str, Waiting]) -> None:
        held = {key: why for key, why in decision.held.items() if key in things}
        of_sender = {
            things[key].sender: why for key, why in held.items() if why in policy.OF_SENDER
        }
        shown = isinstance(decision, Hold) and decision.reason not in {"nothing", "running"}
        desk.held = decision.reason if isinstance(decision, Hold) and shown else ""
        desk.holds = Holds("" if desk.held in policy.OF_SENDER else desk.held, of_sender)
        desk.until = decision.until if isinstance(decision, Hold) else None
        if isinstance(decision, Wake):
            self.waking.begin(desk, decision)
        for key, why in held.items():
            if things[key].kind == "task" and why not in {"running", "nothing"}:
                await self.waking.tell(desk, [things[key]], "wake-held", notices.WHY[why])
        if shown:
            self.emit("held", desk.agent, {"reason": desk.held})
