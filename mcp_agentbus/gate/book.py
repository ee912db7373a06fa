# SPDX-License-Identifier: Apache-2.0
"""Which agent is whose, and what each account was granted: as far as a gate knows.

    >>> book.owner("planner"), book.roles("laptop")
    ('laptop', frozenset({'review'}))

Both stand on the bus, in the agents' registrations and in the records of accounts. `Keeper` has a
book go with them; what was refused by a book that may be behind is looked up before that is said.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Conflict, Found, Message
from mcp_agentbus.core import ids, text
from mcp_agentbus.core.aio import in_background
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.shared.accounts import store
from mcp_agentbus.shared.accounts.record import ACCOUNTS, AccountRecord, AccountState
from mcp_agentbus.store import roster, subjects
from mcp_agentbus.store.subjects import AGENTS
from mcp_agentbus.store.task import Undecodable

# What was missed is made up for this soon, in seconds.
_ANEW_S: Final = 30.0
# The same agent or account is looked up again after so long, in seconds, whoever asks.
_LOOKED_UP_S: Final = 0.2
# Registrations that change within a second beyond this number are read all together.
_HEARD_MAX: Final = 2_000


@dataclass(frozen=True)
class Known:
    """A registration."""

    #: Whose it is; empty if nobody's yet.
    account: str
    roles: tuple[str, ...]
    accept_from: tuple[str, ...]
    #: Its sequence among the registrations.
    revision: int


@dataclass(frozen=True)
class Standing:
    """An account."""

    roles: frozenset[str]
    state: AccountState = "joined"


class Book:
    """What is known; pure."""

    def __init__(
        self,
        agents: Mapping[str, Known] | None = None,
        accounts: Mapping[str, Standing] | None = None,
    ) -> None:
        self._agents = dict(agents or {})
        self._accounts = dict(accounts or {})

    def owner(self, agent: str) -> str:
        """Return whose account an agent is; empty if nobody's."""
        known = self._agents.get(agent)
        return known.account if known else ""

    def revision(self, agent: str) -> int:
        """Return by which number its registration is known; 0 if there is none."""
        known = self._agents.get(agent)
        return known.revision if known else 0

    def roles(self, account: str) -> frozenset[str]:
        """Return what an account was granted."""
        standing = self._accounts.get(account)
        return standing.roles if standing else frozenset()

    def is_in(self, account: str) -> bool:
        """Tell whether an account may use the bus."""
        standing = self._accounts.get(account)
        return standing is not None and standing.state == "joined"

    def is_own(self, account: str, agent: str) -> bool:
        """Tell whether an agent is this account's."""
        return self.owner(agent) == account

    def may_be(self, account: str, agent: str) -> bool:
        """Tell whether an agent is this account's, or nobody's yet."""
        return self.owner(agent) in {"", account} and ids.is_agent(agent)

    def is_own_inbox(self, account: str, inbox: str) -> bool:
        """Tell whether an inbox is an own agent's, or that of a role which the account has."""
        if inbox.startswith(ids.ROLE_PREFIX):
            return inbox.removeprefix(ids.ROLE_PREFIX) in self.roles(account)
        return self.is_own(account, inbox)

    def readers(self, inbox: str) -> Iterable[str]:
        """Return the accounts whose own an inbox is."""
        if inbox.startswith(ids.ROLE_PREFIX):
            role = inbox.removeprefix(ids.ROLE_PREFIX)
            return [name for name, each in self._accounts.items() if role in each.roles]
        owner = self.owner(inbox)
        return [owner] if owner else []

    def is_there(self, inbox: str) -> bool:
        """Tell whether an agent is registered, or one that has the role."""
        return inbox in self._agents or any(self._holders(inbox))

    def accepts(self, inbox: str, sender: str) -> bool:
        """Tell whether who reads an inbox takes tasks of a sender; of a role one is enough."""
        known = self._agents.get(sender)
        roles = known.roles if known else ()
        readers = self._holders(inbox) if inbox.startswith(ids.ROLE_PREFIX) else [inbox]
        takes = ((each, self._agents[each].accept_from) for each in readers if each in self._agents)
        return any(ids.accepts(agent, accepted, sender, roles) for agent, accepted in takes)

    def free(self, agent: str, account: str) -> str:
        """Return a name like another that is nobody's."""
        for more in ("", *(f"-{number}" for number in range(2, 100))):
            name = f"{agent[: 60 - len(account)]}-{account}{more}"[:63]
            if ids.is_agent(name) and name not in self._agents:
                return name
        return ""

    def _holders(self, inbox: str) -> Iterable[str]:
        role = inbox.removeprefix(ids.ROLE_PREFIX)
        if role == inbox:
            return
        for agent, known in self._agents.items():
            if role in known.roles and role in self.roles(known.account):
                yield agent

    def note_agent(self, agent: str, known: Known | None) -> None:
        """Note an agent's registration; None: there is none."""
        if known is None:
            self._agents.pop(agent, None)
        elif known.revision >= self.revision(agent):
            self._agents[agent] = known

    def note_account(self, account: str, standing: Standing | None) -> None:
        """Note how an account stands; None: there is none."""
        if standing is None:
            self._accounts.pop(account, None)
        else:
            self._accounts[account] = standing

    def replace(self, agents: Mapping[str, Known], accounts: Mapping[str, Standing]) -> None:
        """Note all there is."""
        for agent in self._agents.keys() - agents.keys():
            self.note_agent(agent, None)
        for agent, known in agents.items():
            self.note_agent(agent, known)
        self._accounts = dict(accounts)

    @property
    def accounts(self) -> Mapping[str, Standing]:
        """All accounts, by name."""
        return self._accounts


class Keeper:
    """Has a book go with the bus, within an `async with` block."""

    def __init__(self, bus: Bus) -> None:
        self.book = Book()
        #: Set when some account may stand otherwise than before.
        self.changed = asyncio.Event()
        self._bus = bus
        self._stack = AsyncExitStack()
        self._all = asyncio.Event()
        #: When what was looked up last; monotonic.
        self._looked_up: dict[str, float] = {}
        self._looking: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        """Read all, once what changes from then on is heard."""
        await self._stack.__aenter__()
        for subject, hear in (
            (subjects.profile_subject("*"), self._hear_agent),
            (ACCOUNTS, self._hear_account),
        ):
            heard = self._bus.subscribed(subject, hear, most=_HEARD_MAX)
            await self._stack.enter_async_context(heard)
        await self._read_all()
        reading = in_background(self._keep_up(), "a gate's book")
        self._stack.callback(reading.cancel)
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
            task = in_background(self._look(what, name), "a look into the book")
            self._looking[what] = task
            task.add_done_callback(lambda _: self._looked(what))
        await asyncio.wait([self._looking[what]])

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
        record, revision = await store.account(self._bus, account)
        if record is None or record.state != "joined":
            return
        cut_off = replace(record, state="cut-off", since=text.now())
        with suppress(Conflict):  # somebody else says how it stands
            await store.put(self._bus, cut_off, revision)
        await self._read_account(account)

    def _looked(self, what: str) -> None:
        self._looking.pop(what, None)
        now = time.monotonic()
        if len(self._looked_up) > _HEARD_MAX:
            self._looked_up.clear()
        self._looked_up[what] = now

    def _hear_agent(self, message: Message | None) -> None:
        if message is None:
            self._all.set()
            return
        whose = subjects.parts(message.subject).whose
        in_background(self._quietly(self._read_agent(whose)), "a look into the book")

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
            stored = await self._bus.last(AGENTS, subjects.profile_subject(agent))
            self.book.note_agent(agent, _known(stored) if stored else None)

    async def _read_account(self, account: str) -> None:
        if ids.is_agent(account):
            record, _ = await store.account(self._bus, account)
            self.book.note_account(account, _standing(record) if record else None)
            self.changed.set()

    async def _read_all(self) -> None:
        agents: dict[str, Known] = {}
        async for page in self._bus.stored(AGENTS, subjects.profile_subject("*")):
            for stored in page:
                agents[subjects.parts(stored.subject).whose] = _known(stored)
        records = await store.accounts(self._bus)
        accounts = {record.name: _standing(record) for record in records}
        self.book.replace(agents, accounts)
        self.changed.set()


def _known(stored: Found) -> Known:
    try:
        profile = roster.decode_profile(stored)
    except Undecodable:
        return Known("", (), (), stored.seq)
    return Known(profile.account, profile.roles, profile.accept_from, stored.seq)


def _standing(record: AccountRecord) -> Standing:
    return Standing(frozenset(record.roles), record.state)
