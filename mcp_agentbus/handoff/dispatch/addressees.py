# SPDX-License-Identifier: Apache-2.0
"""Whom a task is for: the agents that its addresses name, or the nearest names there are.

>>> [addressee] = await Addressees(bus, "planner").find(["codr"])
UnknownAgent: No agent 'codr' is registered. Nothing was sent. Hint: Nearest: coder. ...
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core import ids, text
from mcp_agentbus.core.aio import together
from mcp_agentbus.core.ids import EVERYBODY, Agent, Priority
from mcp_agentbus.core.notices import takes
from mcp_agentbus.errors import AgentbusError, BadInput, NotAccepted, UnknownAgent
from mcp_agentbus.store import roster
from mcp_agentbus.store.roster import Entry

_NEAREST_MAX: Final = 3
# How alike two names must be, from 0 to 1, for one to be offered for the other.
_NEAR: Final = 0.4
# What other buses call `all`.
_ELSEWHERE: Final = frozenset({"broadcast", "everybody", "everyone"})
# Whom `all` means: of others nobody knows whether anybody will ever be them again.
_SEEN_WITHIN: Final = timedelta(days=30)
# Whoever is on the bus may have written thousands of registrations: more tasks than so many no call
# stores in its time, and what it had stored by then it could not say.
_OTHERS_MAX: Final = 500
# What the roster said so long ago, in seconds, still goes into a receipt: sessions say that they
# live every 5 s, so it is not much older than what would be read.
_KNOWN_S: Final = 0.5


@dataclass(frozen=True)
class Addressee:
    """One for whom a task is."""

    #: As the sender gave it.
    address: str
    inbox: str
    #: What the roster says; None for one that was met before, see `Addressees.entry`.
    entry: Entry | None = None

    def refusal(self, sender: Agent) -> NotAccepted | None:
        """Return the error for a sender of whom it takes no tasks, as far as the roster knows."""
        if self.entry is None:
            return None
        accept_from = self.entry.accept_from
        if ids.accepts(self.inbox, accept_from, sender.id, sender.roles):
            return None
        return NotAccepted(f"{takes(self.address, sorted(accept_from))}. Nothing was stored.")


class Addressees:
    """Whom a session has met: they need not be looked up before each task.

    One that was forgotten or renamed meanwhile is refused once a look beside a task has said so.

    Made by a `Session` for itself.
    """

    def __init__(self, bus: Bus, me: str) -> None:
        self._bus, self._me = bus, me
        #: Of those only that take tasks of everybody.
        self._met: set[str] = set()
        #: What the roster said of an inbox, and when; monotonic.
        self._entries: dict[str, tuple[float, Entry | None]] = {}

    async def find(self, addresses: Sequence[str]) -> list[Addressee]:
        """Return the addressees that checked addresses name; `all` is who else was there of late.

        Raises:
            BadInput: `all` are too many.
            UnknownAgent: one of them is not registered.
            BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
        """
        if list(addresses) == [EVERYBODY]:
            return await self._others()
        inboxes = [ids.inbox_of(address) for address in addresses]
        new = [inbox for inbox in inboxes if inbox not in self._met]
        looks = await together(*(roster.look(self._bus, inbox) for inbox in new))
        entries = dict(zip(new, looks, strict=True))
        for inbox, entry in entries.items():
            if entry is None:
                raise _unknown(inbox, await roster.everybody(self._bus))
        self._met.update(inbox for inbox, entry in entries.items() if entry and _is_open(entry))
        return [
            Addressee(address, inbox, entries.get(inbox))
            for address, inbox in zip(addresses, inboxes, strict=True)
        ]

    async def _others(self) -> list[Addressee]:
        since = text.now() - _SEEN_WITHIN
        entries = [
            entry
            for entry in await roster.everybody(self._bus)
            if entry.id != self._me and entry.was_there(since)
        ]
        if not entries:
            raise UnknownAgent(
                f"No other agent was there in the last {_SEEN_WITHIN.days} days. Nothing was sent."
            )
        if len(entries) > _OTHERS_MAX:
            raise BadInput(
                f"{EVERYBODY!r} are {len(entries):,} agents on this bus, and at most {_OTHERS_MAX} "
                "can be sent to at once. Nothing was sent.",
                hint="Name those whom you mean. Run `agentbus agents` to find them.",
            )
        return [Addressee(entry.id, entry.id, entry) for entry in entries]

    async def entry(self, addressee: Addressee, priority: Priority) -> Entry | None:
        """Return what the roster knows; None if it cannot be read: the task is stored anyway."""
        entry = self.recent(addressee, priority)
        if entry is None:
            with suppress(AgentbusError):
                entry = await roster.look(self._bus, addressee.inbox)
                if entry is None or not _is_open(entry):  # it was forgotten, or is choosy
                    self._met.discard(addressee.inbox)
            self._entries[addressee.inbox] = (time.monotonic(), entry)
        return entry

    def recent(self, addressee: Addressee, priority: Priority) -> Entry | None:
        """Return what the roster has said a moment ago: that does for a task that wakes nobody."""
        at, known = self._entries.get(addressee.inbox, (0.0, None))
        fresh = known and not known.wakes_on(priority) and time.monotonic() - at < _KNOWN_S
        return addressee.entry or (known if fresh else None)


def _is_open(entry: Entry) -> bool:
    return ids.ANY_SENDER in entry.accept_from


def _unknown(inbox: str, entries: Iterable[Entry]) -> UnknownAgent:
    """Return the error for a name that nobody has, with the nearest names there are."""
    entries = list(entries)
    known = [entry.id for entry in entries]
    known += map(ids.role_address, {role for entry in entries for role in entry.roles})
    address = ids.address_of(inbox)
    near = difflib.get_close_matches(address, known, n=_NEAREST_MAX, cutoff=_NEAR)
    hint = f"Nearest: {', '.join(near)}. " if near else ""
    if address in _ELSEWHERE:
        hint = f"Whoever was there of late is {EVERYBODY!r}. {hint}"
    if ids.is_role_address(address):
        said = f"No registered agent holds {address!r}. Nothing was sent."
    else:
        said = f"No agent {address!r} is registered. Nothing was sent."
    return UnknownAgent(said, hint=hint + UnknownAgent.hint)
