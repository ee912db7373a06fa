# SPDX-License-Identifier: Apache-2.0
"""One running session of an agent: what it holds, what it was shown, what it sent.

    async with Bus.connect() as bus, Session(bus, Agent("coder")) as session:
        ...                       # send.send_task(session, ...), inbox.read_inbox(session), ...

It touches the bus at its first call, not before: a host that only asks a server for its tools
leaves no trace. While it lives it keeps its claims; at its end it gives them back.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Conflict, Delivery, Message
from mcp_agentbus.core import ids
from mcp_agentbus.core.aio import together
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.core.text import now
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.store import roster, streams, subjects
from mcp_agentbus.store.records import step, write_record
from mcp_agentbus.store.task import CLAIM_MAX_S, Record, Task

# A task sent this soon after the end of another still counts as caused by it.
CAUSE_LINGERS_S: Final = 600
_END_TIMEOUT_S: Final = 1.5  # a host kills a server that takes 2 s to end
# Where something new may be: the lanes, and the records of sent tasks.
RECORDS: Final = "records"
EVERYTHING: Final = frozenset({*ids.LANES, RECORDS})

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Claim:
    """A task that this session holds."""

    task: Task
    delivery: Delivery
    record: Record
    #: The record's revision; whoever took the task over has raised it.
    revision: int
    #: Its place among all claims that the session ever made; set by `Session.hold`.
    number: int = 0


@dataclass(frozen=True)
class Shown:
    """A result that was shown and not yet confirmed as seen."""

    record: Record
    revision: int
    #: What to finish once it counts as seen; None if another session has pulled it.
    delivery: Delivery | None


class ClaimStore(Protocol):
    """Where claims are kept between the processes of a session without a process of its own."""

    #: The task that was ended last, and when.
    finished: tuple[datetime, Task] | None

    def save(self, claims: Iterable[Claim]) -> None:
        """Keep exactly these."""


@dataclass
class Session:
    """What the five tools share. One asyncio task at a time may change it: see `lock`."""

    bus: Bus
    me: Agent
    id: str = field(default_factory=ids.new_session_id)
    #: Given for a shell's session, whose claims are leases and outlive the process.
    store: ClaimStore | None = None
    #: Held claims by task id, oldest first.
    claims: dict[str, Claim] = field(default_factory=dict)
    #: Those of them that no answer has named yet, since the call that claimed them failed.
    untold: set[str] = field(default_factory=set)
    #: Shown results by task id, until they count as seen.
    shown: dict[str, Shown] = field(default_factory=dict)
    #: Tasks sent here that have no end yet: task id -> (inbox, deadline).
    sent: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    #: Inboxes that are known to be registered.
    met: set[str] = field(default_factory=set)
    #: What the roster said of an inbox, and when; monotonic.
    looked_at: dict[str, tuple[float, roster.Entry | None]] = field(default_factory=dict)
    #: Tasks sent here about which a record came in.
    news: set[str] = field(default_factory=set)
    #: When the deadlines of this agent's open tasks were last looked at; monotonic.
    swept_at: float | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: Set when anything came in that a waiting call should look at, and in which of EVERYTHING.
    stirred: asyncio.Event = field(default_factory=asyncio.Event)
    stir: set[str] = field(default_factory=set)
    #: Told whenever the claims change.
    on_claims: Callable[[], None] | None = None
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _called_at: float = field(default_factory=time.monotonic)
    _finished: tuple[float, Task] | None = None
    _ready: set[str] = field(default_factory=set)
    _readying: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _ending: AsyncExitStack = field(default_factory=AsyncExitStack)
    _settling: set[asyncio.Task[object]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def inboxes(self) -> tuple[str, ...]:
        """The inboxes it reads: its own, then those of its roles."""
        return self.me.inboxes

    async def called(self) -> None:
        """Note a call, and make sure that the session is known to the bus.

        Raises:
            BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
        """
        self._called_at = time.monotonic()
        await self._once("known", self._introduce)

    async def can_read(self) -> None:
        """Make sure that the inboxes' lanes are there, and that news is heard."""
        await self._once("reading", self._prepare_to_read)

    async def _once(self, what: str, do: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do something once; calls that come meanwhile share its outcome."""
        if what in self._ready:
            return
        running = self._readying.get(what)
        if running is None:
            running = self._readying[what] = asyncio.create_task(do())
            running.add_done_callback(lambda done: self._once_done(what, done))
        await asyncio.shield(running)

    def _once_done(self, what: str, done: asyncio.Task[None]) -> None:
        del self._readying[what]
        if not done.cancelled() and done.exception() is None:
            self._ready.add(what)

    async def _introduce(self) -> None:
        await streams.ensure_streams(self.bus)
        await roster.register(self.bus, self.me, now())
        if self.store is None:
            with suppress(AgentbusError):
                await roster.beat(self.bus, self.me, self.id)
            # Before the first task is sent, so that no answer to it can be missed.
            await self._hear_records()
            keeper = asyncio.create_task(self._keep(), name=f"agentbus-keeper-{self.id}")
            self._ending.callback(keeper.cancel)

    async def _hear_records(self) -> None:
        await self._hear(subjects.record_subject(self.me.id, "*", "*"), self._on_record)

    async def _prepare_to_read(self) -> None:
        if self.store is not None:
            await self._hear_records()
        await together(
            streams.ensure_sender(self.bus, self.me.id),
            *(streams.ensure_inbox(self.bus, inbox) for inbox in self.inboxes),
        )
        for inbox in self.inboxes:
            await self._hear(subjects.wake_subject(inbox), self._on_wake)
            await self._hear(subjects.back_subject(inbox), self._on_wake)

    async def _hear(self, subject: str, arrived: Callable[[Message | None], None]) -> None:
        await self._ending.enter_async_context(self.bus.subscribed(subject, arrived))

    def _on_wake(self, message: Message | None) -> None:
        said = subjects.parts(message.subject) if message else None
        # A wake names its lane, the other signs do not.
        self._stir(*(said.rest[:1] if said and said.kind == "wake" else EVERYTHING))

    def _on_record(self, message: Message | None) -> None:
        if message is None:  # a gap in the connection: any of them may have ended meanwhile
            self.news.update(self.sent)
        else:
            _, task_id = subjects.parts(message.subject).rest
            if task_id in self.sent:
                self.news.add(task_id)
        self._stir(RECORDS)

    def _stir(self, *what: str) -> None:
        self.stir.update(what)
        self.stirred.set()

    def cause(self) -> tuple[tuple[str, ...], int]:
        """Return the chain and hops that a task sent now continues; ((), -1) if none."""
        causes = [claim.task for claim in self.claims.values()]
        if not causes and self._finished:
            finished_at, task = self._finished
            if time.monotonic() - finished_at < CAUSE_LINGERS_S:
                causes = [task]
        if not causes:
            return (), -1
        deepest = max(causes, key=lambda task: task.hops)
        return deepest.chain, deepest.hops

    def hold(self, claim: Claim) -> None:
        """Keep a claim, new or changed."""
        held = self.claims.get(claim.task.id)
        number = held.number if held else next(self._numbers)
        self.claims[claim.task.id] = replace(claim, number=number)
        self._save()

    def let_go(self, task_id: str, *, finished: bool = False) -> None:
        """Forget a claim."""
        claim = self.claims.pop(task_id, None)
        self.untold.discard(task_id)
        if claim and finished:
            self._finished = (time.monotonic(), claim.task)
            if self.store:
                self.store.finished = (now(), claim.task)
        self._save()

    def recall(self, finished: tuple[datetime, Task] | None) -> None:
        """Go on from the task that an earlier process of this session ended last."""
        if finished:
            at, task = finished
            ago_s = max(0.0, (now() - at).total_seconds())  # the clock may have been set back
            self._finished = (time.monotonic() - ago_s, task)

    def _save(self) -> None:
        if self.store:
            self.store.save(self.claims.values())
        if self.on_claims:
            self.on_claims()

    async def give_back(self, claim: Claim, *, counts: bool, reason: str) -> None:
        """Let other sessions have a task; `counts` if this was an attempt at it.

        Raises:
            BusUnreachable, Unconfirmed: as `Bus.publish`; the session still holds the task.
        """
        attempts = claim.record.attempts - (0 if counts else 1)
        record = step(claim.record, "stored", self.me.id, attempts=attempts, reason=reason)
        try:
            await write_record(self.bus, record, claim.revision)
        except Conflict:  # it was taken over already
            self.let_go(claim.task.id)
            return
        self.let_go(claim.task.id)
        with suppress(AgentbusError):  # it is given back: the server offers it by itself, later
            await self.bus.give_back(claim.delivery)
            await self.bus.send(subjects.back_subject(claim.task.to), b"", {})

    async def settled(
        self, work: Callable[[], Coroutine[Any, Any, _T]], undo: Callable[[_T], Awaitable[object]]
    ) -> _T:
        """Do `work` while no other call does.

        If the caller is cancelled, let `work` end, then undo it in the background. The lock is kept
        until that is done: no other call may show what is about to be undone.
        """
        await self.lock.acquire()
        running = asyncio.create_task(work())
        try:
            outcome = await asyncio.shield(running)
            # A cancel of this very moment must be seen while the outcome can still be undone.
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            task = asyncio.create_task(self._undone(running, undo))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)
            raise
        except BaseException:
            self.lock.release()
            raise
        self.lock.release()
        return outcome

    async def _undone(
        self, running: Awaitable[_T], undo: Callable[[_T], Awaitable[object]]
    ) -> None:
        try:
            with suppress(AgentbusError):
                await undo(await running)
        finally:
            self.lock.release()

    async def _keep(self) -> None:
        """Say that the session lives, and keep what it holds."""
        touched = time.monotonic()
        while True:
            await asyncio.sleep(roster.BEAT_S)
            try:
                await roster.beat(self.bus, self.me, self.id)
                kept = [claim.delivery for claim in self.claims.values()]
                kept += [one.delivery for one in self.shown.values() if one.delivery]
                for delivery in kept:
                    await self.bus.extend(delivery)
                if time.monotonic() - touched > roster.TOUCH_S:
                    touched = time.monotonic()
                    await roster.register(self.bus, self.me, now())
                if time.monotonic() - self._called_at > CLAIM_MAX_S:
                    await self.give_all_back("no call from its session for 2 hours")
            except AgentbusError as error:
                _log.debug("keeper: %s", error.message)
            except Exception:  # noqa: BLE001  # a keeper that ends would lose every claim
                _log.exception("keeper of session %s", self.id)

    async def give_all_back(self, reason: str) -> None:
        """Give back every claim; one that was never worked on does not count as an attempt."""
        await together(
            *(
                self.give_back(claim, counts=claim.record.state != "claimed", reason=reason)
                for claim in list(self.claims.values())
            )
        )

    async def close(self) -> None:
        """End the session: give back what it holds, say that it leaves."""
        with suppress(AgentbusError, TimeoutError):
            async with asyncio.timeout(_END_TIMEOUT_S):
                for task in self._readying.values():
                    task.cancel()
                unfinished = (*self._settling, *self._readying.values())
                await asyncio.gather(*unfinished, return_exceptions=True)
                # Not by starting a server again that a person has stopped.
                there = "known" in self._ready and await self.bus.reconnected(0)
                if self.store is None and there:
                    await self.give_all_back("its session ended")
                    await roster.beat(self.bus, self.me, self.id, leaving=True)
                    await roster.register(self.bus, self.me, now())
        with suppress(AgentbusError, TimeoutError):
            async with asyncio.timeout(_END_TIMEOUT_S):
                await self._ending.aclose()
