# SPDX-License-Identifier: Apache-2.0
"""An agent's place at the listener: what is known there of its wakes at this moment.

    desk = Desk("coder")
    desk.changed.set()        # have it looked at

Nothing of it outlives the listener; what must is in the `ledger`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.login.account import NotGranted
from mcp_agentbus.bus.replies import Message
from mcp_agentbus.bus.subscription import Arrived
from mcp_agentbus.core.ids import Agent, Priority, is_agent, is_inbox
from mcp_agentbus.core.notices import Counts, Holds, Reason
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.store import roster, streams, subjects
from mcp_agentbus.store.queries import consumers
from mcp_agentbus.store.task import Record

# Others of whom it is counted what was refused.
_REFUSED_MAX: Final = 20
# How often one is looked at that was told of something: a read gives no sign of itself.
_READ_AGAIN_S: Final = 5.0
# A record is heard of before it is stored; it can be read after this long, on a slow disk too.
_STORED_S: Final = 0.3
# The least time between two looks: a time that has come may lie in the past.
_PAUSE_MIN_S: Final = 0.05


@dataclass(frozen=True)
class Notified:
    """What a wake has told an agent, for as long as none of it was read."""

    #: Of the tasks and results, as the ledger has them.
    keys: frozenset[str]
    #: From when on it counts as a wake that led to no read, by the monotonic clock; None while the
    #: wake is under way.
    until: float | None = None


class Departed(NamedTuple):
    """A session that has ended, as the roster knows it."""

    agent: Agent
    session: str


@dataclass(eq=False)
class Desk:
    """One agent's place at the listener; `loop` opens and closes it, `runner` writes its wakes."""

    agent: str
    #: Set when something may be different, so that the agent is to be looked at.
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    #: By the wakes' numbers in the ledger.
    notified: dict[int, Notified] = field(default_factory=dict)
    #: The wake that is under way.
    running: asyncio.Task[None] | None = None
    #: Why nothing was woken at the last look, a `notices.Reason`; empty if something was.
    held: str = ""
    #: Of the tasks that wait, the reasons that were written into their lives last, by keys.
    written: dict[str, Reason] = field(default_factory=dict)
    #: What the roster was told of wakes by tasks to come; None if it was told nothing.
    holds: Holds | None = None
    counts: Counts = field(default_factory=Counts)
    #: Whether that is known: it was looked at, and could be.
    is_counted: bool = False
    #: Why it does not hear of what is stored, and is only looked at now and then; empty if it does.
    deaf: str = ""
    #: Why the bus lets it not be looked at; empty if it does.
    blind: str = ""
    #: Roles of its agent that its account was not granted: whose inboxes are not its to read.
    ungranted: frozenset[str] = frozenset()
    #: What its sessions hold and had asked something about at the last look.
    asking: tuple[Record, ...] = ()
    #: How many tasks were refused since the listener began, by senders whose tasks it takes not.
    refused: Counter[str] = field(default_factory=Counter)
    #: The same of its own tasks, by the inboxes that did not take them.
    refused_by: Counter[str] = field(default_factory=Counter)
    #: When to look again, if nothing changes before.
    look_again_at: datetime | None = None
    #: Its sessions that have ended, as long as the roster was not told.
    departed: list[Departed] = field(default_factory=list)
    #: Since when nobody has needed it, by the monotonic clock; None if somebody does.
    idle_since: float | None = None
    #: Looks at the agent whenever something has changed.
    loop: asyncio.Task[None] | None = None
    #: Held for a look, so that two at once do not wake twice.
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: On what it hears that something was stored.
    subscriptions: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def is_busy(self) -> bool:
        """Whether anything waits for its agent, or is under way."""
        under_way = self.notified or self.running or self.departed or self.looking.locked()
        return bool(self.counts != Counts() or under_way)

    async def hear(self, bus: Bus, subject: str, arrived: Arrived) -> None:
        """Have what is said on a subject heard. Raises: as `Bus.subscribed`."""
        await self.subscriptions.enter_async_context(bus.subscribed(subject, arrived))

    async def subscribe(
        self,
        bus: Bus,
        me: Agent,
        wake_on: Collection[Priority],
        *,
        registers: bool,
        is_woken: Callable[[], bool],
    ) -> None:
        """Have all heard that is stored for its agent, and what that needs made.

        Args:
            bus: where it is stored.
            me: its agent.
            wake_on: the priorities of tasks that wake it.
            registers: whether it is registered, too.
            is_woken: tells whether a result may wake it: a live session can be told, or it is one
                that may be started.

        Raises:
            ApiError, NotAllowed, StoreFull, BusUnreachable, Unconfirmed: the bus does not let it.
        """

        def stored(_: Message | None) -> None:
            self.changed.set()

        def answered(_: Message | None) -> None:
            if is_woken():
                self.changed.set()
                asyncio.get_running_loop().call_later(_STORED_S, self.changed.set)

        await self.subscriptions.aclose()
        await streams.ensure_streams(bus)
        self.ungranted = frozenset()
        if registers:
            self.ungranted = await roster.register_granted(bus, me, None)
        for inbox in me.without(self.ungranted).inboxes:
            try:
                await consumers.ensure_inbox(bus, inbox)
                signs = [subjects.wake_subject(inbox, lane) for lane in wake_on]
                for subject in (*signs, subjects.back_subject(inbox)):
                    await self.hear(bus, subject, stored)
            except NotGranted as error:  # the others are its own all the same
                self.ungranted |= {error.role}
        await consumers.ensure_sender(bus, self.agent)
        await self.hear(bus, subjects.record_subject(self.agent, "*", "*"), answered)
        for refused in ((self.agent, "*"), ("*", self.agent)):
            await self.hear(bus, subjects.refused_subject(*refused), self.hear_refused)

    def has_lost(self, error: AgentbusError | TimeoutError) -> bool:
        """Tell whether a look met a role that was taken away meanwhile; the next goes without."""
        if not isinstance(error, NotGranted) or error.role in self.ungranted:
            return False
        self.ungranted |= {error.role}
        self.changed.set()
        return True

    def count(self, counts: Counts | None) -> None:
        """Note how much waits for it; None: that could not be found out."""
        self.is_counted = counts is not None
        self.counts = counts or self.counts

    def hear_refused(self, sign: Message | None) -> None:
        """Count a task that was refused, of its own or for it; anybody may say so."""
        inbox, _, (sender, *_) = subjects.parts(sign.subject) if sign else ("", "", ("",))
        if not is_inbox(inbox) or not is_agent(sender):
            return
        for other, told, counts in (
            (sender, inbox, self.refused),
            (inbox, sender, self.refused_by),
        ):
            if told == self.agent and (other in counts or len(counts) < _REFUSED_MAX):
                counts[other] += 1

    def begin_look(self) -> None:
        """Forget why it is to be looked at: a look that fails is done again after the usual pause.

        Else one whose time has come would be tried for as long as it fails, without a rest.
        """
        self.changed.clear()
        if self.look_again_at and self.look_again_at <= datetime.now(UTC):
            self.look_again_at = None

    def pause_s(self, most: float) -> float:
        """Return for how long it need not be looked at if nothing changes, in seconds."""
        pause_s = most
        if self.look_again_at:
            left = self.look_again_at - datetime.now(UTC)
            pause_s = min(pause_s, max(_PAUSE_MIN_S, left.total_seconds()))
        return min(pause_s, _READ_AGAIN_S) if self.notified else pause_s

    async def tell_departures(self, bus: Bus) -> None:
        """Say that sessions are gone which have not said so themselves.

        What one holds that was killed is offered later, and wakes nobody before; one whose agent is
        not registered holds nothing.
        """
        while self.departed:
            agent, session = self.departed.pop()
            with suppress(AgentbusError, TimeoutError):  # it is forgotten in 15 s all the same
                if await roster.registration(bus, agent.id) is None:
                    await roster.beat(bus, agent, session, leaving=True)
                elif session in await roster.live_sessions(bus, agent.id):
                    await roster.beat(bus, agent, session, gone=True)

    async def unsubscribe(self) -> None:
        """Hear of nothing any more."""
        with suppress(AgentbusError):
            await self.subscriptions.aclose()

    @property
    def unread(self) -> frozenset[str]:
        """The keys of all that it was told of and has not read yet."""
        return frozenset(key for notified in self.notified.values() for key in notified.keys)


def said(error: AgentbusError | TimeoutError) -> str:
    """Return what an error says of why a desk is not as it should be."""
    return str(error) if isinstance(error, AgentbusError) else "the bus has not answered in time."
