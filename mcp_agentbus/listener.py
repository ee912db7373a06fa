# SPDX-License-Identifier: Apache-2.0
"""The listener's loop: what waits for the agents of this machine, and waking them.

    listener = Listener(settings, bus, ledger)
    await listener.run()

Signs (a stored task, a result, a session that comes or goes, the clock) only say which agent to
look at; what waits is read anew at each look, `policy` decides, the `ledger` knows before anything
is started. It takes nothing from an inbox, so it cannot race a reader.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from mcp_agentbus import names, notice, overview, policy, roster, shell, topology, waiting
from mcp_agentbus.address import start_no_server
from mcp_agentbus.answers import Message
from mcp_agentbus.bus import Bus
from mcp_agentbus.commanding import Commanding
from mcp_agentbus.config import Agent, Settings
from mcp_agentbus.digest import Digest
from mcp_agentbus.errors import AgentbusError, BadInput, BadSetup
from mcp_agentbus.hosting import Hosting
from mcp_agentbus.hub import Hub, Member
from mcp_agentbus.ledger import Ledger, LedgerBroken
from mcp_agentbus.policy import Facts, Hold, Waiting, Wake
from mcp_agentbus.reloading import Reloading
from mcp_agentbus.roster import Holds
from mcp_agentbus.together import together
from mcp_agentbus.version import __version__
from mcp_agentbus.wake import Waker
from mcp_agentbus.wake.hosts import WAKERS
from mcp_agentbus.waking import Desk, Emit, Waking

#: How often an agent is looked at without a sign: tasks of dead sessions come back silently.
LOOK_AGAIN_S: Final = 30.0
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
        self.hub = Hub(self._on_session, self.answer)
        self.hosting = Hosting(bus, self.hub.tell, self.hub.called)
        self.commanding = Commanding(bus)
        self.hub.streams = {"serve": self.hosting.serve, "command": self.commanding.run}
        self.id = names.new_session_id()
        self.desks: dict[str, Desk] = {}
        self.began = datetime.now(UTC)
        self._digest = Digest(bus, self.hub, self.desks, self.hosting.has_shown)
        self._waking = Waking(
            settings, bus, ledger, hub=self.hub, emit=emit, wakers=wakers,
            has_shown=self.hosting.has_shown, telling=self._digest,
        )  # fmt: skip
        self._config = Reloading(settings)
        #: Since when there is no bus; None if there is one.
        self._away_since: datetime | None = None

    async def run(self) -> None:
        """Look after the agents until cancelled; then end what the rules say to end."""
        start_no_server()
        try:
            self._waking.adopt(self.desk)
            for agent in self.settings.rules:
                self.desk(agent)
            while True:
                self.reload()
                await self._present()
                if await self._reachable():
                    await self._waking.catch_up()
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

    def reload(self) -> None:
        """Take over what has changed in config.toml; what cannot be read changes nothing."""
        if not self._config.changed():
            return
        if self._config.says:
            self.emit("config", "", {"error": self._config.says})
        old, new = self.settings, self._config.settings
        self.settings = self._waking.settings = new
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
        if what != "called" or desk.told:
            desk.stirred.set()

    async def _reachable(self) -> bool:
        """Tell whether there is a bus; a listener does not start one."""
        there = await self.bus.reconnected(0)
        if there == bool(self._away_since):
            self._away_since = None if there else datetime.now(UTC)
            self.emit("back" if there else "away", "", {})
        return there

    async def _present(self) -> None:
        """Publish who is here."""
        with suppress(AgentbusError):
            if not await self._reachable():
                return
            for desk in self.desks.values():
                if desk.agent in self.settings.rules or self.hub.of(desk.agent):
                    await roster.beat_for(self.bus, desk.agent, self.id, desk.holds)
            for member in self.hub.members:
                await roster.beat(self.bus, Agent(member.agent, member.host), member.session)

    async def _keep(self, desk: Desk) -> None:
        """Look at one agent whenever something stirs."""
        start_no_server()
        await self._open(desk)
        while True:
            desk.stirred.clear()
            try:
                if await self._reachable():
                    await self.look(desk)
            except LedgerBroken as error:
                self._waking.ledger_broke(error)
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
                await topology.ensure_streams(self.bus)
                if rules:
                    await roster.register(self.bus, known, None)
                for inbox in self._inboxes(desk.agent):
                    await topology.ensure_inbox(self.bus, inbox)
                    subject = names.wake_subject(inbox, "high")
                    await desk.signs.enter_async_context(self.bus.subscribed(subject, stirred))
                await topology.ensure_sender(self.bus, desk.agent)
                mine = names.record_subject(desk.agent, "*", "*")
                await desk.signs.enter_async_context(self.bus.subscribed(mine, answered))
            except (AgentbusError, TimeoutError) as error:
                self.emit("bus", desk.agent, {"error": type(error).__name__})
                await asyncio.sleep(1)
            else:
                await self._present()
                self.emit("ready", desk.agent, {})
                return

    def _inboxes(self, agent: str) -> tuple[str, ...]:
        known = self.settings.agents.get(agent)
        return (agent, *(names.ROLE_PREFIX + role for role in (known.roles if known else ())))

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
        looked = await waiting.look(self.bus, desk.agent, self._inboxes(desk.agent))
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
            self._waking.ledger_says = ""
        except LedgerBroken as error:
            past, works = (), False
            self._waking.ledger_broke(error)
        elsewhere = {
            key
            for other in self.desks.values()  # one that shares a role
            if other is not desk
            for keys, _ in other.told.values()
            for key in keys
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
            self._waking.begin(desk, decision)
        for key, why in held.items():
            if things[key].kind == "task" and why not in {"running", "nothing"}:
                await self._waking.tell(desk, [things[key]], "wake-held", notice.WHY[why])
        if shown:
            self.emit("held", desk.agent, {"reason": desk.held})

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer a command or a hook.

        Raises:
            BadInput: there is no such question.
        """
        start_no_server()
        match request.get("op"):
            case "status":
                return await self.status()
            case "reload":
                self.reload()
                if self._config.says:
                    raise BadSetup(self._config.says)
                return {"pid": os.getpid()}
            case "mail":
                return await self._digest.mail(self.settings, request)
            case "wake":
                return await self._wake_now(names.agent_id(str(request.get("agent", ""))))
            case _:
                raise BadInput("The listener knows no such question.")

    async def _wake_now(self, agent: str) -> dict[str, Any]:
        """Forget an agent's failed wakes, and look at it."""
        self.reload()
        if agent not in self.settings.rules:
            raise BadInput(
                f"{agent} is no agent that this listener can start.",
                hint=f"Run `agentbus agent add {agent} --host HOST --dir FOLDER`.",
            )
        desk = self.desk(agent)
        try:
            self.ledger.forgive(agent)
            await self.look(desk)
        except LedgerBroken as error:
            self._waking.ledger_broke(error)
            raise AgentbusError(
                str(error), hint="Mend or move that file; nothing is woken."
            ) from None
        return self._standing(desk)

    async def status(self) -> dict[str, Any]:
        """Return what this listener does, as data; nothing of it is a peer's."""
        with suppress(AgentbusError):
            if await self._reachable():
                desks = list(self.desks.values())
                looks = (
                    waiting.look(self.bus, one.agent, self._inboxes(one.agent)) for one in desks
                )
                for desk, looked in zip(desks, await together(*looks), strict=True):
                    desk.counts = looked.counts
        away = self._away_since
        return {
            "pid": os.getpid(),
            "version": __version__,
            "since": self.began.isoformat(timespec="seconds"),
            "bus": "away" if away else "ok",
            "away_since": away and away.isoformat(timespec="seconds"),
            "ledger": self._waking.ledger_says or "ok",
            "config": self._config.says or "ok",
            "relayed": self.hosting.count,
            "commands": self.commanding.count,
            "agents": [self._standing(desk) for _, desk in sorted(self.desks.items())],
        }

    def _standing(self, desk: Desk) -> dict[str, Any]:
        return overview.agent_data(
            desk,
            self.settings.rules.get(desk.agent),
            len(self.hub.of(desk.agent)),
            away=self._away_since is not None,
        )
