# SPDX-License-Identifier: Apache-2.0
"""The gate's process: answers what each account asks, until it is told to end.

    stop = asyncio.Event()
    await Gate(settings).run(stop)

Beside each server of a bus one runs, as whoever may say all in the account that has the streams; of
all gates one answers each request. What an account may ask `rules` says.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, suppress
from typing import Final

from mcp_agentbus.bus.address import Address, find_servers
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.login.account import GATE
from mcp_agentbus.bus.raw.passage import Passage
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core.aio import in_background, in_thread, part
from mcp_agentbus.core.files import unusable
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.gate.desk import AccountDesk
from mcp_agentbus.gate.keeper import Keeper
from mcp_agentbus.gate.quota import Quota
from mcp_agentbus.gate.share.census import keep_counts
from mcp_agentbus.gate.signals import Signals
from mcp_agentbus.gate.upkeep import free_names, keep_up
from mcp_agentbus.shared.accounts import store
from mcp_agentbus.store.streams import ensure_streams

_GROUP: Final = "gate"
_log = logging.getLogger(__name__)
# Between two tries to be at the bus, in seconds.
_PAUSE_S: Final = 0.5
# So many connections are opened at a time.
_OPENED_AT_ONCE: Final = 16


class Gate:
    """Answers beside one server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._quota = Quota()
        self._opening = asyncio.Semaphore(_OPENED_AT_ONCE)
        #: By account: what answers it, and whether it does.
        self._desks: dict[str, asyncio.Task[None]] = {}
        self._open: set[str] = set()
        #: Set while it answers all accounts that it knows.
        self.answers = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Answer until told to stop; a bus that is away, or does not let it in, is waited for."""
        async with Bus(self._settings) as bus:
            answering = in_background(self._answer_always(bus), "a gate")
            ended = part(stop.wait())
            try:
                await asyncio.wait([ended, answering], return_when=asyncio.FIRST_COMPLETED)
                if answering.done():
                    answering.result()  # it ends by what nobody has foreseen alone
            finally:
                for task in (ended, answering):
                    task.cancel()
                await asyncio.wait([answering])
                self.answers.clear()

    async def _answer_always(self, bus: Bus) -> None:
        said = ""
        while True:
            try:
                await self._answer(bus)
            except (AgentbusError, OSError) as error:
                why = _why(error)
                if why != said:
                    _log.warning("no account is answered: %s", why)
                said = why
            else:
                said = ""
            finally:
                self.answers.clear()
            await asyncio.sleep(_PAUSE_S)

    async def _answer(self, bus: Bus) -> None:
        """Answer as long as there is a connection.

        Raises:
            BusUnreachable, NotAllowed: there is none.
            OSError: the system gives no thread to find it by.
        """
        await ensure_streams(bus)
        await store.ensure(bus)
        [server, *_] = await in_thread(find_servers, self._settings, may_start=False)
        passage = await Passage.open(server)
        missed = asyncio.Event()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(passage.close)
            keeper = await stack.enter_async_context(Keeper(bus))
            Signals(keeper, passage)
            self._quota.begin()
            stack.push_async_callback(self._end_desks)
            works = (
                keep_up(bus, missed),
                free_names(bus, keeper.book),
                keep_counts(bus, keeper.book, self._quota.holdings),
                self._keep_desks(server, keeper, missed),
            )
            for work in works:
                stack.callback(in_background(work, "a part of the gate").cancel)
            await passage.ended.wait()

    async def _keep_desks(self, server: Address, keeper: Keeper, missed: asyncio.Event) -> None:
        """Have a desk for each account that may use the bus, and for no other."""
        while True:
            keeper.changed.clear()
            wanted = {name for name in keeper.book.accounts if keeper.book.is_in(name)}
            for account, desk_of in list(self._desks.items()):
                if account not in wanted or desk_of.done():
                    self._desks.pop(account).cancel()
            for account in wanted - self._desks.keys():
                desk = self._desk(account, server, keeper, missed)
                self._desks[account] = in_background(desk, "an account's desk")
            self._tell()
            await keeper.changed.wait()

    async def _desk(
        self, account: str, server: Address, keeper: Keeper, missed: asyncio.Event
    ) -> None:
        """Answer one account, on a connection of its own: a flood of its own ends no other."""
        while True:
            with suppress(AgentbusError):
                async with self._opening:
                    passage = await Passage.open(server)
                self._quota.opened(account)
                try:
                    desk = AccountDesk(account, keeper, self._quota, passage, missed)
                    passage.hear(f"{GATE}.{account}.>", desk.heard, _GROUP)
                    await passage.flush()
                    self._open.add(account)
                    self._tell()
                    await passage.ended.wait()
                finally:
                    self._open.discard(account)
                    if account in self._desks:  # else all are to end
                        self._tell()
                    await passage.close()
            await asyncio.sleep(_PAUSE_S)

    def _tell(self) -> None:
        if self._desks.keys() <= self._open:
            self.answers.set()
        else:
            self.answers.clear()

    async def _end_desks(self) -> None:
        desks = list(self._desks.values())
        self._desks.clear()
        for desk in desks:
            desk.cancel()
        if desks:
            await asyncio.wait(desks)


def _why(error: AgentbusError | OSError) -> str:
    """Return why no account is answered for now, in this program's words."""
    if isinstance(error, TimeoutError):
        return "The bus is silent."
    return (error if isinstance(error, AgentbusError) else unusable(error)).message
