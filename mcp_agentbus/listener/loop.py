# SPDX-License-Identifier: Apache-2.0
"""The listener's loop: when something changes, it looks what waits for an agent of this machine.

    loop = Loop(state, relayed, runner)
    await loop.run()

Signs (a stored task, a result, a session that comes or goes, the clock) only say which agent to
look at; what waits is read anew at each look, `policy` decides, and `runner` does it. It takes
nothing from an inbox, so it cannot race a reader.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from mcp_agentbus.bus.address import start_no_server
from mcp_agentbus.bus.replies import NotNow
from mcp_agentbus.core import ids
from mcp_agentbus.core.aio import both, guarded, in_background, note_failure
from mcp_agentbus.core.notices import Reason
from mcp_agentbus.errors import AgentbusError, Refused
from mcp_agentbus.listener.desk import Departed, Desk, said
from mcp_agentbus.listener.endpoint import Connection
from mcp_agentbus.listener.members import Member, roles_of
from mcp_agentbus.listener.relayed import Relayed
from mcp_agentbus.listener.runner import Runner
from mcp_agentbus.listener.state import State
from mcp_agentbus.relay import local_socket
from mcp_agentbus.store import roster
from mcp_agentbus.wakes import policy
from mcp_agentbus.wakes.demand import Demand
from mcp_agentbus.wakes.facts import Facts, Hold, Waiting, Wake
from mcp_agentbus.wakes.ledger import LedgerBroken

#: How often an agent is looked at without a sign: tasks of dead sessions come back silently.
LOOK_AGAIN_S: Final = 30.0
#: A desk is closed when its agent has no rules, no session and no mail for so long.
IDLE_S: Final = 60.0
#: A session that waits in `watch_inbox` takes a task within this time and needs no notice.
GRACE_S: Final = 0.3
# Processes are ended within 5 s; the rest of the listener's end has what is left of its time.
_CLOSE_TIMEOUT_S: Final = 7.0
# How soon an agent is looked at again while another one is woken for a role that both hold.
_ROLE_AGAIN: Final = timedelta(seconds=2)
# A desk that could not be opened, though there is a bus, is tried again after this long.
_OPEN_AGAIN_S: Final = 1.0
# The server makes one inbox after the other: whoever asks it for anything waits behind as many.
_OPENING_MAX: Final = 8
_TIDY_BEATS: Final = int(60 / roster.BEAT_S)  # once a minute: all of the record is read
# Reasons that say of a look only that it is not the time to decide.
_NO_DECISION: Final = frozenset({Reason.NOTHING, Reason.RUNNING})


class Loop:
    """Looks after all agents of this user on this machine; one task a desk, one for them all."""

    def __init__(self, state: State, relayed: Relayed, runner: Runner) -> None:
        self._state, self._relayed, self._runner = state, relayed, runner
        #: The listener's own session id on the roster.
        self._id = ids.new_session_id()
        self._opening = asyncio.Semaphore(_OPENING_MAX)

    async def run(self) -> None:
        """Look after the agents until cancelled; what is heard is heard until `close`."""
        start_no_server()
        for row in self._runner.left_running():
            self._runner.watch(self.desk(row.agent), row)
        for agent in self._state.settings.rules:
            self.desk(agent)
        for beat in itertools.count():
            await guarded(self._look_around(is_to_tidy=beat % _TIDY_BEATS == 0), "round")
            await asyncio.sleep(roster.BEAT_S)

    async def _look_around(self, *, is_to_tidy: bool) -> None:
        """Do what is done at each beat; once a minute also what takes longer."""
        self.reload()
        if is_to_tidy:
            self._state.tidy_ledger()
        time.tzset()  # of quiet hours and days: a laptop travels
        if await self._state.reachable():
            for desk in list(self._state.desks.values()):
                if desk.loop and desk.loop.done():
                    self._begin(desk)
                await guarded(self._publish_here(desk), f"desk of {desk.agent}")
            if is_to_tidy:
                await guarded(self._state.register_lost(), "agents that the roster lost")
            await guarded(self._runner.catch_up(), "ends of wakes")
        await self._close_idle_desks()

    async def end(self) -> None:
        """End what the rules say to end, and begin nothing more: 7 s at most."""
        self._state.is_ending = True
        desks = self._state.desks.values()
        running = [task for desk in desks for task in (desk.loop, desk.running) if task]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=_CLOSE_TIMEOUT_S)

    async def close(self) -> None:
        """Hear of nothing any more: the last thing, as it needs a server that does not hang."""
        for desk in list(self._state.desks.values()):
            await desk.unsubscribe()

    async def join(self, connection: Connection) -> None:
        """Keep a session for as long as its connection lasts.

        Raises:
            BadInput: as `Members.enter`, and as `State.named`.
        """
        members = self._state.members
        request = await self._state.named(connection.request)
        line = await members.arrival(request, connection.reader)
        if line == b"":  # a host that has only asked for its tools leaves no trace
            return
        # Its first call may have named it meanwhile.
        request = await self._state.named(request)
        member = members.enter(request, connection.pid, connection.writer)
        try:
            self._joined(member)
            while line := line or await connection.reader.readline():
                message = local_socket.message(line)
                if message.get("op") == "called":
                    self._state.called(member.session)
                elif message.get("op") == "named":
                    self._renamed(member, message)
                else:
                    members.answered(member, message)
                line = None
        finally:
            if members.leave(member):
                self._left(member)

    def desk(self, agent: str) -> Desk:
        """Return an agent's desk, opening it if need be."""
        desk = self._state.desks.get(agent)
        if desk is None:
            desk = self._state.desks[agent] = Desk(agent)
            self._begin(desk)
        return desk

    def reload(self) -> None:
        """Take over what has changed in config.toml; what cannot be read changes nothing."""
        old = self._state.settings
        if not self._state.watcher.changed():
            return
        if self._state.watcher.says:
            self._state.emit("config", "", {"error": self._state.watcher.says})
        new = self._state.settings
        for agent in {*new.rules, *self._state.desks}:
            before = (old.rules.get(agent), old.agents.get(agent))
            if before != (new.rules.get(agent), new.agents.get(agent)):
                self._begin(self.desk(agent))
                self._state.emit("configured", agent, {})

    async def look(self, desk: Desk) -> None:
        """Look what waits for an agent, and wake it if it is to be woken.

        Raises:
            LedgerBroken: a wake, or that one was read, cannot be noted.
            Refused: the agent would be woken, and the listener is ending.
            BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
        """
        async with desk.looking:
            await self._runner.note_late_read(desk)
            things, decision = await self._decide(desk)
            desk.blind = ""
            if isinstance(decision, Wake) and decision.means == "nudge":
                await asyncio.sleep(GRACE_S)
                things, decision = await self._decide(desk)
            await self._act(desk, decision, {thing.key: thing for thing in things})
            await asyncio.sleep(0)  # what was just begun goes first
            await self._publish_prospects(desk, only_news=True)

    def _begin(self, desk: Desk) -> None:
        """Have a desk begin, or begin anew with the rules of now; a wake that runs goes on."""
        if self._state.is_ending:
            return
        if desk.loop:
            desk.loop.cancel()
        desk.loop = in_background(self._keep(desk), f"desk of {desk.agent}")

    async def _close_idle_desks(self) -> None:
        """Close the desks that nobody has needed for a while; a sign of life opens one again."""
        now = time.monotonic()
        for desk in list(self._state.desks.values()):
            desk.idle_since = None if self._is_needed(desk) else desk.idle_since or now
            if desk.idle_since is None or now - desk.idle_since < IDLE_S:
                continue
            del self._state.desks[desk.agent]
            if desk.loop:
                desk.loop.cancel()
                await asyncio.wait([desk.loop], timeout=_CLOSE_TIMEOUT_S)
            await desk.unsubscribe()
            self._state.emit("closed", desk.agent, {})

    def _is_needed(self, desk: Desk) -> bool:
        """Tell whether an agent has rules or a session, or anything waits or is under way."""
        return self._is_here(desk) or desk.is_busy

    def _is_here(self, desk: Desk) -> bool:
        """Tell whether an agent has rules by which it can be started, or a live session."""
        return bool(desk.agent in self._state.settings.rules or self._state.members.of(desk.agent))

    def _joined(self, member: Member) -> None:
        self._relayed.tell_claims(member.session)  # at once: a kill from here on loses nothing
        self._state.emit("joined", member.agent, member.about)
        with suppress(LedgerBroken):
            self._state.ledger.remember(member.agent, member.host_session)
        self.desk(member.agent).changed.set()

    def _left(self, member: Member) -> None:
        self._state.emit("left", member.agent, member.about)
        served = self._state.sessions.get(member.session)
        # It ends here, and says so itself.
        is_served = served is not None and served.is_known and served.me.id == member.agent
        if self._state.members.session_of(member) is member and not is_served:
            self.desk(member.agent).departed.append(Departed(member.me, member.session))
        self.desk(member.agent).changed.set()

    def _renamed(self, member: Member, said: Mapping[str, Any]) -> None:
        """Go on with a session by the name and the roles that its first call has given it."""
        agent, roles = ids.agent_id(str(said.get("agent"))), roles_of(said)
        if agent != member.agent:
            self._left(member)
            member.agent, member.roles = agent, roles
            self._joined(member)
        elif roles != member.roles:
            member.roles = roles
            self.desk(agent).changed.set()

    async def _publish_here(self, desk: Desk) -> None:
        """Publish an agent's sessions, and that it is here."""
        with suppress(AgentbusError):  # it is said again with the next sign of life
            for member in self._state.members.sessions_of(desk.agent):
                await roster.beat(self._state.bus, member.me, member.session)
        await self._publish_prospects(desk)

    async def _publish_prospects(self, desk: Desk, *, only_news: bool = False) -> None:
        """Say what would become of a task that came now, or that this agent is not here now."""
        is_seen = self._is_here(desk) and not desk.blind
        holds = policy.prospects(self.facts(desk, ())) if is_seen else None
        if holds != desk.holds or (holds and not only_news):
            with suppress(AgentbusError):  # it is said again with the next sign of life
                await roster.beat_for(self._state.bus, desk.agent, self._id, holds)
                desk.holds = holds

    async def _keep(self, desk: Desk) -> None:
        """Look at one agent whenever something changes."""
        start_no_server()
        opens_at, opened_as = 0.0, None
        while True:
            me = self._state.me(desk.agent)
            if me != opened_as or opens_at <= time.monotonic():
                opens_at, opened_as = await self._open(desk), me
            desk.begin_look()
            try:
                if await self._state.reachable():
                    await desk.tell_departures(self._state.bus)
                    await self.look(desk)
            except LedgerBroken as error:
                self._state.ledger_broke(error)
            except (AgentbusError, TimeoutError) as error:
                await self._could_not_look(desk, error)
            except Exception as error:  # noqa: BLE001  # a desk that ends would wake nobody again
                note_failure(f"desk of {desk.agent}", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(desk.pause_s(LOOK_AGAIN_S)):
                    await desk.changed.wait()

    async def _open(self, desk: Desk) -> float:
        """Register the agent and hear of what is stored for it, once there is a bus.

        Return when to do so again, by the monotonic clock: what was refused, a look does without.
        """
        while True:
            try:
                while not await self._state.bus.reconnected(LOOK_AGAIN_S):
                    pass
                async with self._opening:
                    await self._subscribe(desk)
            except (AgentbusError, TimeoutError) as error:
                if desk.deaf != said(error):
                    self._state.emit("bus", desk.agent, {"error": type(error).__name__})
                desk.deaf = said(error)
                if isinstance(error, Refused) and not isinstance(error, NotNow):
                    return time.monotonic() + LOOK_AGAIN_S
                await asyncio.sleep(_OPEN_AGAIN_S)
            except Exception as error:  # noqa: BLE001  # as in `_keep`
                note_failure(f"desk of {desk.agent}", error)
                return time.monotonic() + LOOK_AGAIN_S
            else:
                desk.deaf = ""
                # Of it alone: there may be hundreds.
                await guarded(self._publish_here(desk), f"desk of {desk.agent}")
                self._state.emit("ready", desk.agent, {})
                return time.monotonic() + self._state.granted_s(desk.agent)

    async def _subscribe(self, desk: Desk) -> None:
        state, agent = self._state, desk.agent
        rules = state.settings.rules.get(agent)

        def is_woken() -> bool:
            return bool(rules) or any(member.can_nudge for member in state.members.of(agent))

        me, lanes = state.me(agent), state.wake_on(agent)
        await desk.subscribe(state.bus, me, lanes, registers=bool(rules), is_woken=is_woken)

    async def _could_not_look(self, desk: Desk, error: AgentbusError | TimeoutError) -> None:
        """Say why an agent was not looked at; where that is refused, once, and promise no wake."""
        if desk.blind == said(error) or desk.has_lost(error):
            return
        self._state.emit("bus", desk.agent, {"error": type(error).__name__})
        if isinstance(error, Refused):
            desk.blind = said(error)
            desk.count(None)
            await self._publish_prospects(desk, only_news=True)

    async def _decide(self, desk: Desk) -> tuple[tuple[Waiting, ...], Wake | Hold]:
        """Return what waits, and what is to be done about it at this moment.

        Of an agent that is at nothing the urgent tasks alone may say that it is to be started.
        """
        state, agent, ran = self._state, desk.agent, desk.running is not None
        if not (ran or desk.notified or desk.asking):
            urgent, rejoins = await both(state.look_for_urgent(agent), state.may_rejoin(agent))
            things, decision = self._decided(desk, urgent, ran=ran, rejoins=rejoins)
            if isinstance(decision, Wake) and decision.means == "start":
                return things, decision
        looked, rejoins = await both(state.look(agent), state.may_rejoin(agent))
        return self._decided(desk, looked, ran=ran, rejoins=rejoins)

    def _decided(
        self, desk: Desk, looked: Demand, *, ran: bool, rejoins: bool
    ) -> tuple[tuple[Waiting, ...], Wake | Hold]:
        # From here on nothing is awaited until a wake has begun: two desks may share a role.
        desk.count(looked.counts)
        desk.asking = looked.asking
        things = self._state.for_somebody(desk.agent, looked.things)
        if not ran:  # else the look may be older than what was read
            self._runner.note_reads(desk, {thing.key for thing in things})
        facts = self.facts(desk, things)
        decision = policy.decide(facts)
        if isinstance(decision, Hold) and len(facts.waiting) < len(things):
            again = datetime.now(UTC) + _ROLE_AGAIN
            decision = replace(decision, until=min(decision.until or again, again))
        if isinstance(decision, Wake) and (
            awaited_s := self._state.awaited_s(desk.agent, decision.means, rejoins=rejoins)
        ):
            decision = Hold(Reason.NOTHING, datetime.now(UTC) + timedelta(seconds=awaited_s))
        return things, decision

    def facts(self, desk: Desk, things: tuple[Waiting, ...]) -> Facts:
        """Return what is known of an agent, and of these things that wait for it."""
        state = self._state
        now = datetime.now().astimezone()
        try:
            past, works = state.ledger.past(desk.agent, now), True
            state.ledger_says = ""
        except LedgerBroken as error:
            past, works = (), False
            state.ledger_broke(error)
        # By one that shares a role.
        elsewhere = {
            key for other in state.desks.values() if other is not desk for key in other.unread
        }
        return Facts(
            now=now,
            rules=state.settings.rules.get(desk.agent),
            waiting=tuple(thing for thing in things if thing.key not in elsewhere),
            session=state.members.reached(desk.agent),
            running=desk.running is not None or bool(desk.notified),
            past=past,
            trusted=state.trusted(),
            ledger_works=works,
        )

    async def _act(self, desk: Desk, decision: Wake | Hold, things: Mapping[str, Waiting]) -> None:
        """Begin a wake, or note why there is none: for the log and the tasks' lives."""
        why = decision.held.items()
        held = [(things[key], reason) for key, reason in why if key in things]
        desk.written = {key: why for key, why in desk.written.items() if key in things}
        is_held = isinstance(decision, Hold) and decision.reason not in _NO_DECISION
        desk.held = decision.reason if isinstance(decision, Hold) and is_held else ""
        desk.look_again_at = decision.until if isinstance(decision, Hold) else None
        if isinstance(decision, Wake):
            self._runner.begin(desk, decision)
        await self._runner.hold(desk, [each for each in held if each[1] not in _NO_DECISION])
        if is_held:
            self._state.emit("held", desk.agent, {"reason": desk.held})
