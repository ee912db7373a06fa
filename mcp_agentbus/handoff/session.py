# SPDX-License-Identifier: Apache-2.0
"""One running session of an agent: what the five tools share while it lives.

    async with Bus.connect() as bus, Session(bus, Agent("coder")) as session:
        ...                       # send.send_task(session, ...), inbox.read_inbox(session), ...

It touches the bus at its first call, not before: a host that only asks a server for its tools
leaves no trace. While it lives it keeps its claims; at its end it gives them back.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Self

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.own.home import settings_of
from mcp_agentbus.bus.replies import Delivery, Message
from mcp_agentbus.config import machine_key
from mcp_agentbus.config.watcher import Watcher
from mcp_agentbus.core import ids, text
from mcp_agentbus.core.aio import Once, in_background, together
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import AgentbusError, Refused
from mcp_agentbus.handoff.call import Calls, is_over
from mcp_agentbus.handoff.claims import Claims
from mcp_agentbus.handoff.dispatch.addressees import Addressees
from mcp_agentbus.handoff.dispatch.cause import said_of, way_of
from mcp_agentbus.handoff.dispatch.noted import CauseMemory, note_ended, of_sessions
from mcp_agentbus.handoff.dispatch.rate import SendRate
from mcp_agentbus.handoff.intake import arrivals
from mcp_agentbus.handoff.intake.watches import Watches
from mcp_agentbus.handoff.outcomes import Outcomes
from mcp_agentbus.handoff.presence.keeper import keep
from mcp_agentbus.handoff.presence.succession import Succession
from mcp_agentbus.handoff.shells import file_of
from mcp_agentbus.handoff.views.old_names import under_old_names
from mcp_agentbus.store import roster, streams, subjects
from mcp_agentbus.store.outbox.outbox import Outbox
from mcp_agentbus.store.own_name import Naming
from mcp_agentbus.store.queries import consumers

_END_TIMEOUT_S: Final = 1.5  # a host kills a server that takes 2 s to end
_GIVEN_BACK_S: Final = 0.01  # more for each task that is given back
_TURN_S: Final = 0.5  # of that, for its keeper, and for a call that is claiming just now
RECORDS: Final = "records"  # of sent tasks, where something new may be, as in the lanes
EVERYTHING: Final = frozenset({*ids.LANES, RECORDS})


@dataclass(eq=False)
class Session:
    """What the five tools share. One asyncio task at a time may change it: see `lock`.

    Args:
        bus: where it works.
        me: whose session.
        id: its own, which no other session has.
        leased: it is a shell's: it gives no sign of life, and its claims last a time, beyond its
            process.
        hosted: the host's own session and process that it works for, as `core.hosts` names them;
            empty if unknown.
        ungranted: roles of its agent that its account was not granted.
        only: the id of the one task that it was started for; empty if it may claim any.
        naming: how an MCP client's session comes by its name; None: its agent is `me` and stays.
        outbox: keeps what it sends while the bus is out of reach; None: nothing does.
        rate: how many tasks its agent may send.
    """

    bus: Bus
    me: Agent
    id: str = field(default_factory=ids.new_session_id)
    leased: bool = False
    hosted: str = ""
    ungranted: frozenset[str] = frozenset()
    only: str = ""
    naming: Naming | None = None
    outbox: Outbox | None = None
    rate: SendRate = field(default_factory=SendRate)
    #: The id of the session that its host has begun in its place; empty if none.
    successor: str = field(default="", init=False)
    #: What it holds.
    claims: Claims = field(init=False)
    #: What was left to its agent's shell, as far as it was looked at: not its own, see `entrusted`.
    entrusted: Claims = field(init=False)
    #: What became of the tasks that its agent sent.
    outcomes: Outcomes = field(init=False)
    #: Agents and roles that it has sent to.
    known: Addressees = field(init=False)
    #: Its client's calls, by which it is known what has arrived there.
    calls: Calls = field(default_factory=Calls, init=False)
    #: The calls that wait for something new.
    watches: Watches = field(default_factory=Watches, init=False)
    #: Tasks that were offered while another one of the same id was held: by their sequence, the id.
    namesakes: dict[int, tuple[str, Delivery]] = field(default_factory=dict, init=False)
    #: Held by whoever takes something or ends it, one call after the other.
    lock: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    #: When it was last called, by the monotonic clock.
    called_at: float = field(default_factory=time.monotonic, init=False)
    #: The roles that its latest registration was to have.
    registered: tuple[str, ...] = field(default=(), init=False)
    _config: Watcher = field(init=False)
    _naming_lock: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _ended: bool = field(default=False, init=False)
    _is_clients: bool = field(init=False)  # an MCP client's
    _once: Once = field(default_factory=Once, init=False)
    _hears: set[str] = field(default_factory=set, init=False)  # subjects
    _ending: AsyncExitStack = field(default_factory=AsyncExitStack, init=False)
    _in_background: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    _keeper: asyncio.Task[None] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.naming is None:  # else the name is its user's, or made of its folder's
            self.me.check()
        self._is_clients = self.naming is not None
        self._config = Watcher(settings_of(self.bus))
        self._be(self.me.by_mcp() if self.naming else self.me)

    def _be(self, me: Agent) -> None:
        """Be this agent, with nothing claimed, sent or met yet."""
        self.me = me
        self.claims = Claims(self.bus, self.me.id, self.id)
        if not self.leased:
            file = of_sessions(self.bus.settings.state_dir, me.id)
            self.claims.on_way = CauseMemory(file, self.claims).note
        self.entrusted = Claims(self.bus, self.me.id, "")
        self.outcomes = Outcomes(self.bus, self.me.id, self.id)
        self.known = Addressees(self.bus, self.me.id)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self.calls.end()
        await self.close()

    @property
    def inboxes(self) -> tuple[str, ...]:
        """The inboxes it reads: its own, then those of its roles."""
        return self.me.without(self.ungranted).inboxes

    @property
    def is_known(self) -> bool:
        """Whether the bus was told of it, so that it says of itself that it ends."""
        return "known" in self._once

    def see_open(self) -> None:
        """See that it has not ended.

        Raises:
            Refused: it has.
        """
        if self._ended:
            raise Refused(
                "This session has ended: it gives no sign of life, and what it claimed would be "
                "nobody's. Nothing was done.",
                hint="Open another session, and call it from there.",
            )

    def refreshed(self) -> Agent:
        """Return its agent as its user has said by now, which it is from here on."""
        before = self._config.settings.agents.get(self.me.id)
        self._config.changed()
        if mine := self._config.settings.agents.get(self.me.id):
            self.me = self.me.by_now(mine, before or mine)
        return self.me

    def task_id(self, inbox: str, request: str) -> str:
        """Return the id of a task that it sends: the same for the same request, foreseen by nobody.

        Raises:
            BadSetup: as `unforeseen`.
        """
        return machine_key.unforeseen(self.bus.settings.state_dir, self.me.id, inbox, request)

    async def take_name(self) -> tuple[str, ...]:
        """Take its agent's name before all else, be another if need be; return what to tell of it.

        Raises:
            BadInput, BadSetup, BusUnreachable, Unconfirmed, NotAllowed: as `Naming.take`.
        """
        async with self._naming_lock:
            if self.naming is None:
                return ()
            identity = await self.naming.take(self.bus)
            me = identity.me.by_mcp()
            if me.id == self.me.id:
                self.me = me
            elif not (self._once or self._hears):  # what it has begun it goes on with as who it was
                told = self.claims.on_change
                self._be(me)
                self.claims.on_change = told
            remarks = (*identity.remarks, *await under_old_names(self.bus, self.me.id))
            return (*remarks, identity.news) if identity.news else remarks

    async def called(self) -> None:
        """Note a call, and make sure that the session is known to the bus.

        A leased one then holds what earlier processes of it have claimed.

        Raises:
            Refused: it has ended, or has a successor that lives.
            BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
        """
        self.see_open()
        if self.successor:
            if await roster.may_live(self.bus, self.me.id, self.successor):
                raise is_over()
            self.successor = ""
            self._once.forget()
            self._hears.clear()
        self.called_at = time.monotonic()
        self.refreshed()
        await self._once.do("known", self._introduce)

    async def can_read(self) -> None:
        """Make sure that the lanes of its inboxes by now are there, and what comes in is heard."""
        if self.refreshed().roles != self.registered:  # a new one may not be granted
            await self.register()
        inboxes = self.inboxes
        ready = partial(self._prepare_to_read, inboxes)
        await self._once.do(f"reading {' '.join(inboxes)}", ready)

    async def _introduce(self) -> None:
        await streams.ensure_streams(self.bus)
        if self.leased and self.bus.settings.account:
            await self.register()  # by which it is known whose inboxes it may look into
            await self.claims.find(self.inboxes)
        else:
            finding = [self.claims.find(self.inboxes)] if self.leased else []
            await together(self.register(), *finding)
        self.naming = None
        if self.leased:
            return
        with suppress(AgentbusError):
            await roster.beat(self.bus, self.me, self.id)
        # Before the first task is sent, so that no answer to it can be missed.
        await self._hear_records()
        if self.hosted and not self.only:
            await self._succeed()
        self._keeper = in_background(keep(self), f"keeper of session {self.id}")
        self._ending.callback(self._keeper.cancel)

    async def register(self) -> None:
        """Say of its agent who that is, and that it was there.

        Raises: as `roster.register_granted`.
        """
        me = self.refreshed()
        self.ungranted = await roster.register_granted(self.bus, me, text.now())
        self.registered = me.roles

    async def _hear_records(self) -> None:
        await self._hear(subjects.record_subject(self.me.id, "*", "*"), self._on_record)

    async def _prepare_to_read(self, inboxes: Sequence[str]) -> None:
        signs = (subjects.wake_subject, subjects.back_subject)
        await together(
            *([self._hear_records()] if self.leased else ()),
            consumers.ensure_sender(self.bus, self.me.id),
            *(consumers.ensure_inbox(self.bus, inbox) for inbox in inboxes),
            *(self._hear(sign(inbox), self._on_wake) for inbox in inboxes for sign in signs),
        )

    async def _hear(self, subject: str, arrived: Callable[[Message | None], None]) -> None:
        if subject not in self._hears:  # a try that failed behind it has come so far
            await self._ending.enter_async_context(self.bus.subscribed(subject, arrived))
            self._hears.add(subject)

    def _on_wake(self, message: Message | None) -> None:
        parts = subjects.parts(message.subject) if message else None
        # A wake names its lane, the other signs do not.
        self.watches.note(*(parts.rest[:1] if parts and parts.kind == "wake" else EVERYTHING))

    def _on_record(self, message: Message | None) -> None:
        self.outcomes.heard(message)
        self.watches.note(RECORDS)

    async def take_over(self, references: Iterable[Mapping[str, Any]]) -> None:
        """Hold again what an earlier process of this session held, see `Claims.take_over`."""
        await self.called()
        given_up = self.calls.given_up()  # its client goes on, and has what tasks it was given
        await self.claims.take_over(references, given_up, has_tasks=True)

    async def _succeed(self) -> None:
        """Go on with all that earlier sessions have which the same host has left for this one.

        What they have given may have been lost with the servers that nobody reads any more.
        """
        succession = Succession(self.bus, self.me.id, self.id, self.hosted)
        async for handed in succession.handed():
            given_up = self.calls.given_up()
            with suppress(ValueError, LookupError, TypeError, AttributeError):
                await self.claims.take_over(handed["claims"], given_up)
                await self.outcomes.take_over(handed["outcomes"], given_up)
                if ended := handed["ended"]:
                    self.claims.recall(*way_of(ended))
        await self._hear(succession.subject, partial(self._on_succeeded, succession))

    def _on_succeeded(self, succession: Succession, message: Message | None) -> None:
        if message and message.reply and (successor := succession.successor_in(message)):
            self.finish_in_background(self._hand_over(successor, message.reply))

    async def _hand_over(self, successor: str, reply: str) -> None:
        """Let another session of this agent have all that this one has, which is over then."""
        if successor == self.id:
            await self.bus.send(reply, b"", {})
            return
        async with self.lock:
            if self.successor:
                return
            ended = self.claims.ways.deepest
            way = said_of(ended) if ended else None
            claims = await self.claims.hand_over(successor)
            outcomes = await self.outcomes.hand_over()
            self.successor = successor
        self.watches.note(*EVERYTHING)  # whoever waits here is told at once
        await self._ending.aclose()
        with suppress(AgentbusError):
            await roster.beat(self.bus, self.me, self.id, leaving=True)
        handed = {"claims": claims, "outcomes": outcomes, "ended": way}
        await self.bus.send(reply, json.dumps(handed).encode(), {})

    def finish_in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Carry out what must still be done for a call that was cancelled."""
        task = in_background(work, f"end of a cancelled call of session {self.id}")
        self._in_background.add(task)
        task.add_done_callback(self._in_background.discard)

    async def settled(self) -> None:
        """Wait until what was sent is kept, and what cancelled calls took is given back; 2 s."""
        await self.outcomes.sent_records.settled()
        if self._in_background:
            await asyncio.wait(self._in_background, timeout=_END_TIMEOUT_S)

    @property
    def is_over(self) -> bool:
        """Whether it gives no sign of life any more."""
        return self._ended or bool(self.successor)

    async def close(self) -> None:
        """End the session: give back what it holds, say that it leaves; 3 s at most.

        Of many tasks each takes its time besides. Whoever cuts this short ends its keeper all the
        same. What it was given counts as seen if that is known by its `calls` to have arrived.
        """
        self._ended = True
        self.watches.note(*EVERYTHING)  # whoever waits here is told at once
        self._leave_way()
        try:
            await self._end(_END_TIMEOUT_S + _GIVEN_BACK_S * len(self.claims))
        finally:
            with suppress(AgentbusError, TimeoutError):
                async with asyncio.timeout(_END_TIMEOUT_S):
                    await self._ending.aclose()

    def _leave_way(self) -> None:
        """Note what an MCP client's only call had at hand: its next may be another session's."""
        if self._is_clients and self.calls.made == 1:
            file = file_of(self.bus.settings.state_dir, self.me.id)
            note_ended(file, *self.claims.ways.left(claim.task for claim in self.claims.values()))

    async def _end(self, within_s: float) -> None:
        """Do at its end what takes time, as far as there is so much."""
        with suppress(AgentbusError, TimeoutError):
            async with asyncio.timeout(within_s):
                if self._keeper and not self._keeper.done():  # its last sign of life is to leave
                    self._keeper.cancel()
                    await asyncio.wait([self._keeper], timeout=_TURN_S)
                unfinished = (*self._in_background, *self._once.cancelled())
                await asyncio.gather(*unfinished, return_exceptions=True)
                # `reconnected(0)` never starts a server: a person may have stopped it.
                if not self.leased and self.is_known and await self.bus.reconnected(0):
                    await self._turn_ended()
                    await self._leave()

    async def _turn_ended(self) -> None:
        """Wait for the call that may claim just now; each later one sees that this has ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_TURN_S), self.lock:
                pass

    async def _leave(self) -> None:
        """Give back what it holds, and say that it leaves: each step, whatever the others do."""
        for step in (
            partial(arrivals.leave, self.bus, self.claims, self.calls.ended),
            partial(arrivals.leave, self.bus, self.entrusted, self.calls.ended),
            partial(self.claims.give_all_back, "its session ended"),
            partial(roster.beat, self.bus, self.me, self.id, leaving=True),
            partial(self.outcomes.leave, self.calls.ended),
            self.register,
        ):
            with suppress(AgentbusError):
                await step()
