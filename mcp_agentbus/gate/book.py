# SPDX-License-Identifier: Apache-2.0
"""Which agent is whose, and what each account was granted: as far as a gate knows. Pure.

>>> book.owner("planner"), book.roles("laptop")
('laptop', frozenset({'review'}))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from mcp_agentbus.core import ids


@dataclass(frozen=True)
class Registration:
    """A registration."""

    #: Whose it is; empty if nobody's yet.
    account: str
    roles: tuple[str, ...]
    accept_from: tuple[str, ...]
    #: Its sequence among the registrations.
    revision: int
    #: Its account has forgotten it, and keeps the name.
    is_gone: bool = False


@dataclass(frozen=True)
class Standing:
    """An account."""

    roles: frozenset[str]
    #: `joined`, `cut-off` or `removed`.
    state: str = "joined"
    #: Whether it may write to any number of others' agents at once.
    to_all: bool = False
    #: Its sequence among the records.
    revision: int = 0


class Book:
    """What is known; pure."""

    def __init__(
        self,
        agents: Mapping[str, Registration] | None = None,
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

    def writes_to_all(self, account: str) -> bool:
        """Tell whether an account may write to any number of others' agents at once."""
        standing = self._accounts.get(account)
        return standing is not None and standing.to_all

    def is_in(self, account: str) -> bool:
        """Tell whether an account may use the bus."""
        standing = self._accounts.get(account)
        return standing is not None and standing.state == "joined"

    def count(self, account: str) -> int:
        """Return how many agents are this account's."""
        theirs = (known for known in self._agents.values() if known.account == account)
        return sum(not known.is_gone for known in theirs)

    def is_own(self, account: str, agent: str) -> bool:
        """Tell whether an agent is this account's."""
        return self.owner(agent) == account

    def may_be(self, account: str, agent: str) -> bool:
        """Tell whether an agent is this account's, or nobody's yet."""
        return self.owner(agent) in {"", account} and ids.is_agent(agent)

    def is_gone(self, agent: str) -> bool:
        """Tell whether an agent's account has forgotten it, and has its name still."""
        known = self._agents.get(agent)
        return known is not None and known.is_gone

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
        is_agent = inbox in self._agents and not self.is_gone(inbox)
        return is_agent or any(self._holders(inbox))

    def accepts(self, inbox: str, sender: str) -> bool:
        """Tell whether who reads an inbox takes tasks of a sender; of a role one is enough."""
        known = self._agents.get(sender)
        # Of a role that was taken away it may have registered nothing since.
        roles = self.roles(known.account).intersection(known.roles) if known else frozenset()
        readers = self._holders(inbox) if inbox.startswith(ids.ROLE_PREFIX) else [inbox]
        takes = ((each, self._agents[each].accept_from) for each in readers if self.is_there(each))
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

    def note_agent(self, agent: str, known: Registration | None) -> None:
        """Note an agent's registration; None: there is none."""
        if known is None:
            self._agents.pop(agent, None)
        elif known.revision >= self.revision(agent):
            self._agents[agent] = known

    def note_account(self, account: str, standing: Standing | None) -> None:
        """Note how an account stands; None: there is none."""
        known = self._accounts.get(account)
        if standing is None:
            self._accounts.pop(account, None)
        elif known is None or standing.revision >= known.revision:
            self._accounts[account] = standing

    @property
    def gone(self) -> Mapping[str, int]:
        """The agents that their accounts have forgotten, and by which number that is known."""
        return {name: known.revision for name, known in self._agents.items() if known.is_gone}

    @property
    def agents(self) -> AbstractSet[str]:
        """All agents that are registered, or that an account has forgotten."""
        return self._agents.keys()

    @property
    def accounts(self) -> Mapping[str, Standing]:
        """All accounts, by name."""
        return self._accounts
