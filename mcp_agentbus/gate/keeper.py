# SPDX-License-Identifier: Apache-2.0
"""Has a gate's book go with the bus, where both stand: registrations, and the records of accounts.

    async with Keeper(bus) as keeper:
        keeper.book.owner("planner")

What is refused by a book that may be behind is looked up before that is said.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final, Self

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Conflict, Found, Message
from mcp_agentbus.core import ids, text
from mcp_agentbus.core.aio import in_background, part
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.gate.book import Book, Registration, Standing
from mcp_agentbus.shared.accounts import leader, store
from mcp_agentbus.shared.accounts.record import CHANGED, AccountRecord
from mcp_agentbus.store import subjects
from mcp_agentbus.store.registered.profile import decode_profile
from mcp_agentbus.store.subjects import AGENTS
from mcp_agentbus.store.task import Undecodable

# What was missed is made up for this soon, in seconds.
_ANEW_S: Final = 30.0
# The same agent or account is looked up again after so long, in seconds, whoever asks.
_LOOKED_UP_S: Final = 0.2
# A registration is heard of so much earlier than it is stored, in seconds: tried after each.
_STORED_AFTER_S: Final = (0.0, 0.02, 0.1, 0.5, 2.0)
# Registrations that change within a second beyond this number are read all together.
_HEARD_MAX: Final = 2_000


class Keeper:
    """Has a book go with the bus, within an `async with` block."""

    def __init__(self, bus: Bus) -> None:
        self.book = Book()
        #: Set when some account may stand otherwise than before.
        self.changed = asyncio.Event()
        self.bus = bus
        self._stack = AsyncExitStack()
        self._all = asyncio.Event()
        #: When what was looked up last; monotonic.
        self._looked_up: dict[str, float] = {}
        self._looking: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        """Read all, once what changes from then on is heard."""
        async with AsyncExitStack() as stack:
            for subject, hear in (
                (subjects.profile_subject("*"), self._hear_agent),
                (CHANGED, self._hear_account),
            ):
                heard = self.bus.subscribed(subject, hear, most=_HEARD_MAX)
                await stack.enter_async_context(heard)
            await self._read_all()
            reading = in_background(self._keep_up(), "a gate's book")
            stack.callback(reading.cancel)
            # Not before all of it stands: of a block that does not begin nobody ends anything.
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def look_up(self, names: Iterable[str], account: str = "") -> None:
        """Read again what a refusal would go by, unless that was done a moment ago.

        Raises:
            BusUnreachable, NotAllowed: as `Bus.last`.
        """
        for name in names:
            if ids.is_agent(name):
                await self._once(f"agent {name}", name)
            elif name.startswith(ids.ROLE_PREFIX):
                await self._once("all", "")
        if account:
            await self._once(f"account {account}", account)

    async def _once(self, what: str, name: str) -> None:
        """Have one look at a time at the same thing, and none right after another."""
        if time.monotonic() - self._looked_up.get(what, 0.0) < _LOOKED_UP_S:
            return
        if what not in self._looking:
            task = part(self._look(what, name))
            self._looking[what] = task
            task.add_done_callback(partial(self._looked, what))
        # It goes on for the others who wait for it.
        await asyncio.shield(self._looking[what])

    async def _look(self, what: str, name: str) -> None:
        if what == "all":
            await self._read_all()
        elif what.startswith("agent "):
            await self._read_agent(name)
        else:
            await self._read_account(name)

    async def cut_off(self, account: str) -> None:
        """Have an account be let in no more: whoever configures the server hears of it.

        Raises:
            BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
        """
        record, revision = await store.account(self.bus, account)
        if record and record.state == "joined":
            cut_off = replace(record, state="cut-off", since=text.now())
            with suppress(Conflict):  # somebody else says how it stands
                await store.put(self.bus, cut_off, revision)
        await self._read_account(account)

    def _looked(self, what: str, task: asyncio.Task[None]) -> None:
        self._looking.pop(what, None)
        if task.cancelled() or task.exception():  # the next one looks again
            return
        now = time.monotonic()
        if len(self._looked_up) > _HEARD_MAX:
            self._looked_up.clear()
        self._looked_up[what] = now

    def _hear_agent(self, message: Message | None) -> None:
        if message is None:
            self._all.set()
            return
        whose = subjects.parts(message.subject).whose
        self._looked_up.pop(f"agent {whose}", None)  # it may be another by now
        in_background(self._quietly(self._read_changed(whose)), "a look into the book")

    def _hear_account(self, message: Message | None) -> None:
        if message is None:
            self._all.set()
            return
        account = message.subject.rpartition(".")[2]
        in_background(self._quietly(self._read_account(account)), "a look into the book")

    async def _quietly(self, look: Any) -> None:
        try:
            await look
        except AgentbusError:
            self._all.set()

    async def _keep_up(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_ANEW_S):
                    await self._all.wait()
            self._all.clear()
            with suppress(AgentbusError):
                await self._read_all()

    async def _read_agent(self, agent: str) -> None:
        if ids.is_agent(agent):
            stored = await leader.last(self.bus, AGENTS, subjects.profile_subject(agent))
            self.book.note_agent(agent, _known(stored) if stored else None)

    async def _read_changed(self, agent: str) -> None:
        """Read a registration that is heard of; several servers have to agree before it is stored.

        What was refused, as somebody else's write came first, is looked for in vain.
        """
        before = self.book.revision(agent)
        for pause_s in _STORED_AFTER_S:
            await asyncio.sleep(pause_s)
            await self._read_agent(agent)
            if self.book.revision(agent) != before:
                return

    async def _read_account(self, account: str) -> None:
        if ids.is_agent(account):
            record, revision = await store.account(self.bus, account)
            self.book.note_account(account, _standing(record, revision) if record else None)
            self.changed.set()

    async def _read_all(self) -> None:
        agents: dict[str, Registration] = {}
        async for page in self.bus.stored(AGENTS, subjects.profile_subject("*")):
            for stored in page:
                agents[subjects.parts(stored.subject).whose] = _known(stored)
        # A server that lags has not all of them, and what came meanwhile no page has.
        for agent in self.book.agents - agents.keys():
            await self._read_agent(agent)
        for agent, known in agents.items():
            self.book.note_agent(agent, known)
        records = await store.revised_accounts(self.bus)
        for account in self.book.accounts.keys() - {record.name for record, _ in records}:
            await self._read_account(account)
        for record, revision in records:
            self.book.note_account(record.name, _standing(record, revision))
        self.changed.set()


def _known(stored: Found) -> Registration:
    try:
        profile = decode_profile(stored)
    except Undecodable:
        return Registration("", (), (), stored.seq)
    if profile.forgotten and profile.account:
        return Registration(profile.account, (), (), stored.seq, is_gone=True)
    return Registration(profile.account, profile.roles, profile.accept_from, stored.seq)


def _standing(record: AccountRecord, revision: int) -> Standing:
    return Standing(frozenset(record.roles), record.state, record.to_all, revision)
