# SPDX-License-Identifier: Apache-2.0
"""Who is there, for those who want to send: the list, the addressees, the nearest names.

Whose a task is that is somebody else's, and what waits under a name of the past, it says as well.

    >>> [listed.entry.id for listed in (await page(bus)).agents]
    ['coder', 'planner']
    >>> [addressee] = await Addressees(bus, "planner").find(["codr"])
    UnknownAgent: No agent 'codr' is registered. Nothing was sent. Hint: Nearest: coder. ...

It asks the roster and counts what waits; it registers nobody, and says nothing of itself.
"""

from __future__ import annotations

import difflib
import math
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from mcp_agentbus.bus.budget import one_call
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config import names
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import ids, text
from mcp_agentbus.core.aio import both, together
from mcp_agentbus.core.ids import EVERYBODY, LANES, Agent, Priority
from mcp_agentbus.core.notices import takes
from mcp_agentbus.errors import (
    AgentbusError,
    BadInput,
    BusUnreachable,
    NotAccepted,
    NotAllowed,
    UnknownAgent,
    UnknownTask,
)
from mcp_agentbus.handoff import shells
from mcp_agentbus.store import roster, streams, subjects, unseen, waiting
from mcp_agentbus.store.records import read_sent
from mcp_agentbus.store.roster import Entry

_NEAREST_MAX: Final = 3
# How alike two names must be, from 0 to 1, for one to be offered for the other.
_NEAR: Final = 0.4
# Whom `all` means: of others nobody knows whether anybody will ever be them again.
_SEEN_WITHIN: Final = timedelta(days=30)
# Whoever is on the bus may have written thousands of registrations: more tasks than so many no call
# stores in its time, and what it had stored by then it could not say.
_OTHERS_MAX: Final = 500
# Of what waits under an old name nobody needs a larger number.
_LEFT_MAX: Final = 20
# What the roster said so long ago, in seconds, still goes into a receipt: sessions say that they
# live every 5 s, so it is not much older than what would be read.
_KNOWN_S: Final = 0.5


@dataclass(frozen=True)
class Listed:
    """An agent in a list, with what waits for it."""

    entry: Entry
    #: Tasks that nobody holds, by priority; a priority without any is left out.
    waiting: dict[Priority, int]


@dataclass(frozen=True)
class Page:
    """A part of the roster."""

    agents: tuple[Listed, ...]
    #: Ask again with it for the rest; None at the end.
    next_cursor: str | None
    #: Agents that match, on this page or not.
    total: int
    #: Those that match as well and were left out, because they are away.
    away: int = 0

    @property
    def note(self) -> str:
        """What the agents on it do not say by themselves, as `Receipt.note`."""
        if not self.away:
            return ""
        who = f"{self.away} agent{'s' * (self.away != 1)}"
        if self.total:
            return f"Not shown: {who} more, offline."
        return f"Nobody that matches is there; {who} offline."


@one_call
async def page(
    bus: Bus,
    *,
    query: str = "",
    include_offline: bool = True,
    limit: int = 20,
    cursor: str | None = None,
) -> Page:
    """Return the agents whose id, role, host or description has `query` in it, by id.

    Args:
        bus: whose roster.
        query: letters of either case; empty for all.
        include_offline: also those that surely have no live session and no listener.
        limit: at most this many.
        cursor: `next_cursor` of the page before; an empty one is none, as of a shell that has none.

    Raises:
        BadInput: a value is of another kind, or the cursor none of a page.
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    text.check_text(query, "query")
    text.check_number(limit, "limit", 1, math.inf, hint="Use 1 or more.", kind=int)
    after = "" if cursor is None else text.check_text(cursor, "cursor")
    if after and not ids.is_agent(after):
        raise BadInput(
            "The cursor is not one of this list.", hint="Use the cursor of the answer before."
        )
    everybody, stored = await both(roster.everybody(bus), waiting.stored_tasks(bus))
    matching = [entry for entry in everybody if _matches(entry, query)]
    chosen = [entry for entry in matching if include_offline or entry.state not in roster.AWAY]
    rest = [entry for entry in chosen if entry.id > after]
    shown = rest[:limit]
    counts = await _waiting(bus, [entry.id for entry in shown], stored)
    return Page(
        agents=tuple(Listed(entry, counts.get(entry.id, {})) for entry in shown),
        next_cursor=shown[-1].id if len(rest) > limit else None,
        total=len(chosen),
        away=len(matching) - len(chosen),
    )


def _matches(entry: Entry, query: str) -> bool:
    if not query:
        return True
    words = "\n".join((entry.id, *entry.roles, *entry.hosts, entry.description))
    return query.casefold() in words.casefold()


async def _waiting(
    bus: Bus, agents: Sequence[str], stored: Iterable[str]
) -> dict[str, dict[Priority, int]]:
    """Return what waits for those agents in whose inboxes anything at all is stored, by subject."""
    places = {(inbox, lane) for inbox, _, (lane, _) in map(subjects.parts, stored)}
    lanes = {agent: [lane for lane in LANES if (agent, lane) in places] for agent in agents}
    busy = {agent: some for agent, some in lanes.items() if some}
    counts = await together(*(_in_lanes(bus, agent, some) for agent, some in busy.items()))
    return dict(zip(busy, counts, strict=True))


async def _in_lanes(bus: Bus, agent: str, lanes: Sequence[Priority]) -> dict[Priority, int]:
    counts = await waiting.counts(bus, (agent,), lanes)
    return {lane: count for lane, count in counts.items() if count}


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
    known += [f"role:{role}" for role in {role for entry in entries for role in entry.roles}]
    address = ids.address_of(inbox)
    near = difflib.get_close_matches(address, known, n=_NEAREST_MAX, cutoff=_NEAR)
    hint = f"Nearest: {', '.join(near)}. " if near else ""
    return UnknownAgent(
        f"No agent {address!r} is registered. Nothing was sent."
        if not address.startswith("role:")
        else f"No registered agent holds {address!r}. Nothing was sent.",
        hint=hint + UnknownAgent.hint,
    )


def of_this_user(settings: Settings) -> tuple[str, ...]:
    """Return the agents that are known to be this user's; `*`, everybody, on the embedded server.

    Raises:
        BadSetup: the book of names cannot be read.
    """
    return ("*",) if settings.url is None else known_here(settings)


def known_here(settings: Settings) -> tuple[str, ...]:
    """Return the agents that config.toml has, or that a session on this machine has been.

    Raises:
        BadSetup: the book of names cannot be read.
    """
    return tuple({*names.read(settings).names, *settings.agents, *shells.agents(settings)})


async def under_old_names(bus: Bus, agent: str) -> tuple[str, ...]:
    """Say what waits under the names that an agent had before it was renamed, a sentence for each.

    It is not moved unasked: whoever is started by an old name uses it again.

    Raises:
        BadSetup: the book of names cannot be read.
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    book = names.read(bus.settings)
    before = [was for was in book.renamed if book.became(was, agent)]
    remarks: list[str] = []
    try:
        if before:  # the call that this comes before has not made sure of them yet
            await streams.ensure_streams(bus)
        told = [await _under_old_name(bus, old, agent) for old in before]
        remarks = list(filter(None, told))
    except BusUnreachable:
        if not bus.settings.keeps_outbox:  # else the call itself may do without the bus
            raise
    return tuple(remarks)


async def _under_old_name(bus: Bus, old: str, agent: str) -> str:
    if await roster.live_sessions(bus, old):
        return ""  # what it has is its own, and may come back still
    try:
        tasks, results = await both(
            waiting.counts(bus, (old,)), unseen.look_up(bus, old, _LEFT_MAX)
        )
    except NotAllowed:  # the name is another account's, with all that waits there
        return ""
    counts = (_left(sum(tasks.values()), "task"), _left(len(results.results), "result"))
    if not any(counts):
        return ""
    return (
        f"Under {old}, which this agent was before, waits: {', '.join(filter(None, counts))}. "
        f"To have that here: agentbus agent rename {old} {agent}"
    )


def _left(count: int, what: str) -> str:
    number = f"{count} or more" if count >= _LEFT_MAX else f"{count}"
    return f"{number} {what}{'s' * (count != 1)}" if count else ""


async def unknown_task(
    bus: Bus, task_id: str, message: str, deed: str, *, by: Literal["sender", "addressee"]
) -> UnknownTask:
    """Return the error for a task that is not this agent's, with whose it is, if that is known.

    Args:
        bus: where it is looked for.
        task_id: its whole id, by which whoever has it has seen the task.
        message: a sentence that says what this agent has not, without its full stop.
        deed: what can be done by an agent whose it is, such as `read`.
        by: which of both can do that.
    """
    with suppress(AgentbusError):  # then nobody knows
        sent, _ = await read_sent(bus, "*", "*", task_id)
        if sent:  # what else is written of it, anybody may have made up
            to = ids.address_of(sent.inbox)
            whose = f"A session of {sent.owner if by == 'sender' else to}"
            if whose.startswith("A session of role:"):
                whose = f"An agent that holds {to}"
            return UnknownTask(
                f"{message}; {sent.owner} sent it to {to}.", hint=f"{whose} can {deed} it."
            )
    return UnknownTask(f"{message}.", hint=ids.PARKED_NUMBER if ids.is_number(task_id) else "")
