# SPDX-License-Identifier: Apache-2.0
"""A connection that opens at its first use, and again whenever it was lost.

    async with Reconnecting(settings) as connection:
        async with connection.subscribed("agentbus.coder.wake.*.*", arrived):
            await connection.send("agentbus.coder.back", b"", {})

A request is tried for as long as its call's `budget` lasts, and ends in an answer or in an error
that says what is known: `BusUnreachable` means that nothing was stored, `Unconfirmed` that it may
have been. Nothing is kept to be sent later, after its caller was told that it failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from typing import Final, Self, TypeVar

from mcp_agentbus.bus import budget, said
from mcp_agentbus.bus.address import Rotation, find_servers
from mcp_agentbus.bus.connection import API, Link, LinkLost, NoResponders
from mcp_agentbus.bus.own import disk
from mcp_agentbus.bus.own.home import Home
from mcp_agentbus.bus.replies import LEADERLESS, Message, NotNow
from mcp_agentbus.bus.subscription import HEARD_MAX, Arrived, Subscription
from mcp_agentbus.config.settings import Settings, load_settings
from mcp_agentbus.core.aio import in_thread
from mcp_agentbus.errors import (
    AgentbusError,
    BusUnreachable,
    CutOff,
    NoAnswer,
    NobodyListens,
    NotAllowed,
    OutOfReach,
    StoreFull,
    Unconfirmed,
    Untrusted,
)

_TRY_TIMEOUT_S: Final = 1.5  # of a request; a call has `budget.CALL_S` for all that it asks
_BACKOFF_S: Final = (0.02, 0.1, 0.3, 0.6)
_WHY_TIMEOUT_S: Final = 0.4  # to find out why a server took a message and confirmed nothing
_LATE: Final = "No bus server answered in time. Nothing was stored."

_T = TypeVar("_T")


class Reconnecting:
    """A connection to the server that the settings name; `Bus` adds JetStream's verbs."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or load_settings()
        #: Makes anew what the server lost at its end: it keeps streams in memory for as long only.
        self.on_missing: Callable[[], Awaitable[None]] | None = None
        #: Why `reconnected` had no connection when it was last asked; None, and "", if it had one.
        self.away: AgentbusError | None = None
        self.away_says = ""
        self.is_locked_out = False  #: It had none as no server takes the login, and none is away.
        self.connections = 0  #: How many were opened: what one has told, another may not.
        self.unanswered = 0  #: Tries that had no answer: what they did at the server is not known.
        self._closed, self._repairs = False, 0
        self._repairs_within: budget.Budget | None = None
        self._refused: BusUnreachable | None = None
        self._ground = disk.Ground(self.settings)
        self._rotation, self._home = Rotation(), Home()
        self._begin()

    def _begin(self) -> None:
        """Know of no connection, nor of who waits for one or hears something on it."""
        self._link: Link | None = None
        self.opened = asyncio.Event()  #: Set whenever a connection was opened, or anew.
        self._opening, self._repairing = asyncio.Lock(), asyncio.Lock()
        self._subscriptions: list[Subscription] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection; safe to call twice."""
        self._closed = True
        if self._link and self._home.is_here:  # else it is another's, as of who has forked
            await self._link.close()

    async def send(
        self, subject: str, data: bytes, headers: Mapping[str, str], *, taken: bool = False
    ) -> None:
        """Hand over what may be lost, such as a sign of life. Never for a task.

        It does not start the embedded server: a session that only lives on must not undo
        `agentbus server stop`. With `taken` it returns once the server has it.

        Raises:
            BusUnreachable: there is no connection.
            NotAllowed: with `taken`, the server's permissions forbid it.
        """
        link = await self._live(may_start=False)
        with self._answering():
            await link.send(subject, data, headers)
            if taken:
                await link.flush(min(_TRY_TIMEOUT_S, budget.current().left_s))
        if taken and link.was_denied(subject):
            raise NotAllowed

    @contextlib.contextmanager
    def _answering(self) -> Generator[None, None, None]:
        """Say to a caller what it means that a server does not answer."""
        try:
            yield
        except LinkLost:
            raise said.gone(self._whose) from None
        except TimeoutError:
            raise said.silent(self._whose) from None

    async def request(self, subject: str, data: bytes, within_s: float) -> Message:
        """Ask whoever else is on the bus, once; return the first answer.

        Raises:
            NobodyListens, NoAnswer: nobody does, there; none came in so many seconds.
            CutOff: the connection ended meanwhile; BusUnreachable, NotAllowed: as `Bus.publish`.
        """
        link = await self._live()
        try:
            return await link.request(subject, data, timeout=within_s)
        except NoResponders:
            raise NobodyListens from None
        except TimeoutError:
            raise NoAnswer from None
        except LinkLost:
            raise CutOff(said.GONE, hint=said.gone(self._whose).hint) from None

    async def _connected(self) -> None:
        """Have a connection, tried for as long as a request is; nothing is asked on it."""
        await self._tried(lambda *_: asyncio.sleep(0), stores=False)

    async def _tried(
        self, ask: Callable[[Link, float], Awaitable[_T]], *, stores: bool
    ) -> tuple[_T, bool]:
        """Ask until there is an answer, or the call's time is over.

        Args:
            ask: gets a connection, and the seconds for this try.
            stores: an answer that is lost leaves open whether something was stored.
        """
        left = budget.current()
        if left.failed:
            raise BusUnreachable(left.failed.message, hint=left.failed.hint)
        handed_over, failure = False, None
        for pause in itertools.chain(_BACKOFF_S, itertools.repeat(_BACKOFF_S[-1])):
            try:
                link = await self._live(within_s=left.left_s)
                answer = await ask(link, min(_TRY_TIMEOUT_S, left.left_s))
            except (OutOfReach, Untrusted):  # waiting changes nothing
                if handed_over and stores:
                    raise await self._unconfirmed() from None
                raise
            except (BusUnreachable, NoResponders, NotNow, TimeoutError, LinkLost) as error:
                self.unanswered += 1
                if stores and not handed_over and isinstance(error, TimeoutError):
                    with contextlib.suppress(AgentbusError, TimeoutError):
                        await self._repair(_WHY_TIMEOUT_S)  # a stream may be told to say nothing
                handed_over |= isinstance(error, TimeoutError | LinkLost)
                failure = await self._failure(error, failure or left.failed)
            else:
                left.answered()
                return answer, handed_over
            if not left.lasts(pause):
                left.failed = failure
                ends_in = await self._unconfirmed() if handed_over and stores else failure
                if self._link and len(self.settings.urls) > 1:
                    await self._link.close()  # one of the others may do better
                raise ends_in
            await asyncio.sleep(pause)
        raise AssertionError  # the chain of pauses has no end

    async def _failure(self, error: Exception, before: BusUnreachable | None) -> BusUnreachable:
        """Do what can be done about a try that failed, and return what it means to the caller."""
        known = before if before and before.message != said.GONE else None
        match error:
            case TimeoutError():
                await self._revive()
                return said.silent(self._whose)
            case NoResponders():
                return await self._untaken(*error.args)
            case NotNow():
                return said.silent(self._whose, error.message)
            case BusUnreachable():
                # Why there was no connection before says more than that this try took too long.
                return known if known and error.message == _LATE else error
        # And more than that it went: whoever asks beside this may have let go of it for another.
        return known or said.gone(self._whose)

    async def _untaken(self, subject: str) -> BusUnreachable:
        """Make anew what may be missing where nobody takes a subject; return what was wrong.

        Raises:
            Refused: the server does not let that be made anew.
        """
        if subject.startswith(f"{API}.") and not subject.startswith(f"{API}.DIRECT.GET."):
            await self._revive()
            return self._of_no_use(said.NO_JETSTREAM)
        try:
            what = said.TAKES_NOTHING if await self._repair() else said.MISSING
        except BusUnreachable as error:
            return error
        except NotAllowed:
            return said.of_no_use(self._whose, said.MAKES_NONE)
        except TimeoutError:
            return said.silent(self._whose)
        return self._of_no_use(what)

    def _of_no_use(self, what: tuple[str, str]) -> BusUnreachable:
        """Return the error of a server that answers; of several another may do what is asked."""
        if self.is_cluster:
            return said.silent(self._whose)
        return said.of_no_use(self._whose, what)

    async def _repair(self, within_s: float = _TRY_TIMEOUT_S) -> bool:
        """Make anew what is missing; return whether all is there now, as far as that is known.

        Raises:
            AgentbusError, TimeoutError: it cannot be made, or seen.
        """
        if self.on_missing is None or budget.current() is self._repairs_within:
            return False  # it is what repairs that asks
        limit_s, before = min(within_s, budget.current().left_s), self._repairs
        async with asyncio.timeout(limit_s), self._repairing:
            if self._repairs == before:  # else another call has, meanwhile
                with budget.apart():
                    self._repairs_within = budget.current()
                    await self.on_missing()
                self._repairs += 1
        return True

    @property
    def is_cluster(self) -> bool:
        """Whether the server is one of several, which have a leader or have none."""
        return len(self.settings.urls) > 1 or (self._link is not None and self._link.is_clustered)

    async def _revive(self, refused: AgentbusError | None = None) -> None:
        """Have our own server started anew after a failed write, or a limit of a fuller disk."""
        anew = disk.widen if refused else disk.revive
        if self.settings.url is None and (refused is None or isinstance(refused, StoreFull)):
            with contextlib.suppress(AgentbusError, OSError):
                async with asyncio.timeout(budget.current().left_s):
                    await in_thread(anew, self.settings)

    @property
    def _whose(self) -> said.Whose:
        """Whose server it is, as those who can mend it are told."""
        return "several" if self.is_cluster else "one" if self.settings.url else "own"

    async def _unconfirmed(self) -> Unconfirmed:
        """Say what is known about a server that took a message and did not answer."""
        try:
            async with asyncio.timeout(_WHY_TIMEOUT_S):
                link = await self._live(may_start=False)
                await link.request(f"{API}.INFO", timeout=_WHY_TIMEOUT_S)
        except TimeoutError:
            return Unconfirmed(
                "The bus server does not answer: it is not known whether this was stored.",
                mend=said.MEND[self._whose],
            )
        except (LinkLost, NoResponders, AgentbusError) as error:
            if not (self.is_cluster and isinstance(error, LinkLost)):  # let go of for another
                return Unconfirmed(
                    "The bus server went away before it confirmed: it is not known whether this "
                    "was stored."
                )
        if self.is_cluster:
            return Unconfirmed(f"{LEADERLESS} It is not known whether this was stored.")
        own = self.settings.url is None
        return said.nothing_kept(disk.write_error(self.settings) if own else None)

    @contextlib.asynccontextmanager
    async def subscribed(
        self, subject: str, arrived: Arrived, *, group: str = "", most: int = HEARD_MAX
    ) -> AsyncGenerator[bool, None]:
        """Call `arrived` for every message on `subject`, also after a lost connection.

        What it yields is whether the server's permissions let it be heard.
        It is called with None when something may have been missed: after the connection has ended,
        and once it is heard again where more than `most` had come within a second. Of all that are
        subscribed there with the same `group`, one is called.
        """
        subscription = Subscription(subject, arrived, group, most)
        await self._hear(await self._live(), subscription)
        self._subscriptions.append(subscription)
        try:
            yield subscription.is_allowed
        finally:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)
                await subscription.end()

    async def _hear(self, link: Link, subscription: Subscription) -> None:
        with self._answering():
            await subscription.begin(link, min(_TRY_TIMEOUT_S, budget.current().left_s))

    async def reconnected(self, within_s: float, *, if_let_in: bool = False) -> bool:
        """Wait until there is a connection again, without starting a server.

        With `if_let_in` no longer than until each server says that it takes not this login.

        Raises:
            BusUnreachable: this bus was closed; whoever waits for it would wait for ever.
        """
        give_up = time.monotonic() + within_s
        for pause in itertools.chain(_BACKOFF_S, itertools.repeat(_BACKOFF_S[-1])):
            try:
                await self._live(may_start=False)
            except AgentbusError as error:
                self.away, self.away_says = error, f"{error.cause} {error.hint}"
                self.is_locked_out = isinstance(error, NotAllowed) and not self._rotation.some_away
            else:
                self.away, self.away_says, self.is_locked_out = None, "", False
                return True
            if self._closed:
                raise said.closed()
            is_in_vain = if_let_in and self.is_locked_out
            if is_in_vain or time.monotonic() + pause >= give_up:
                return False
            await asyncio.sleep(pause)
        raise AssertionError  # the chain of pauses has no end

    async def let_go_if_silent(self, within_s: float) -> None:
        """Close a connection on which no ping is answered in time: the next use opens another."""
        if self._link and self._link.alive:
            try:
                await self._link.flush(within_s)
            except (LinkLost, TimeoutError):
                await self._link.close()

    async def _live(self, *, may_start: bool = True, within_s: float = budget.CALL_S) -> Link:
        """Return a connection that works, opening one if need be."""
        if self._home.moves():
            self._begin()
        if link := self._lasting():
            return link
        before = self._refused
        try:
            async with asyncio.timeout(within_s), self._opening:
                if link := self._lasting():
                    return link
                if self._closed:
                    raise said.closed()
                return await self._open(may_start=may_start)
        except TimeoutError:  # others have tried meanwhile: why the last of them failed is known
            if self._refused and self._refused is not before:
                raise BusUnreachable(self._refused.message, hint=self._refused.hint) from None
            raise BusUnreachable(_LATE, hint=said.silent(self._whose).hint) from None

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection; whoever asks opens none."""
        return self._lasting() is not None

    def _lasting(self) -> Link | None:
        """Return the connection if it works, and what is said there is kept."""
        return self._link if self._link and self._link.alive and self._ground.holds else None

    async def _open(self, *, may_start: bool) -> Link:
        """Open a connection on which everything is heard that was heard before."""
        if self._link and self._link.alive:
            await self._link.close()
        try:
            servers = await in_thread(find_servers, self.settings, may_start=may_start)
            link, _ = await self._rotation.open(servers)
        except TimeoutError:
            raise
        except (BusUnreachable, OSError) as error:
            self._refused = said.for_now(error) if isinstance(error, OSError) else error
            raise self._refused from None
        self._refused = None
        try:
            for each in list(self._subscriptions):
                await self._hear(link, each)
                if each not in self._subscriptions:  # it has ended meanwhile
                    await each.end()
        except BaseException:
            await link.close()
            raise
        self._link, self._ground = link, disk.Ground(self.settings)
        self.connections += 1
        self.opened.set()
        link.on_end(self._lost)
        return link

    def _lost(self) -> None:
        for subscription in list(self._subscriptions):
            subscription.arrived(None)
