# SPDX-License-Identifier: Apache-2.0
"""How a session comes by its name: by this machine's book, and by what the roster knows of it.

    naming = Naming(Asked(settings, None, Path("/home/me/shop")))
    me = (await naming.take(bus)).me       # at the first call of a tool

Only the roster tells whether a name that a folder's file asks for is somebody's elsewhere, and
which ids were in use before this machine had a book. What follows from it, `config.identity`
decides. It registers nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config import identity, names, spelling
from mcp_agentbus.config.identity import Asked, Identity
from mcp_agentbus.config.names import NameBook
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.core.aio import in_thread
from mcp_agentbus.errors import BadInput, BadSetup, BusUnreachable, NameTaken, Unconfirmed
from mcp_agentbus.store import roster, streams
from mcp_agentbus.store.registered.forgotten import account_of
from mcp_agentbus.store.subjects import AGENTS

_NOBODY: Final[frozenset[str]] = frozenset()
# The gate refuses whom this has missed; a call has little more time than that for all that it asks.
_LOOK_S: Final = 1.0
# Names that are this account's on this bus, which they stay.
_OURS: Final[set[tuple[str | None, str, str]]] = set()


@dataclass(frozen=True)
class Naming:
    """How one session comes by its name."""

    asked: Asked
    #: On a shared server, the ids that are known to be this machine's.
    here: frozenset[str] = _NOBODY
    #: The sessions here that have called no tool: they reserve no name.
    silent: Callable[[], frozenset[str]] = field(default=lambda: _NOBODY)

    async def look(self, bus: Bus) -> Identity:
        """Tell who the session is, and take nothing.

        Raises:
            BadInput, BadSetup: as `identity.who`.
            NameTaken: it is another account's, and was given.
            BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
        """
        found, book = self._found()
        if others := await self._others(bus, found):
            return self._mine(identity.find(self.asked, book, others), others)
        if found.is_settled or not _asks_roster(found, book):
            return found
        registered = await _registered(bus)
        elsewhere = await self._elsewhere(bus, registered, found, book)
        book.begin(self._ours(registered))
        return identity.find(self.asked, book, elsewhere)

    async def take(self, bus: Bus) -> Identity:
        """Take the name for the session's folder, as its first call does; again it does nothing.

        Raises: as `look`.
        """
        found, book = self._found()
        if others := await self._others(bus, found):
            known = await _registered(bus) if book.since is None else _NOBODY
            took = await in_thread(identity.take, self.asked, self._ours(known) - others, others)
            return self._mine(took, others)
        if found.is_settled:
            return found
        registered = await _registered(bus) if _asks_roster(found, book) else _NOBODY
        elsewhere = await self._elsewhere(bus, registered, found, book)
        # It waits for a lock, and for the disk.
        return await in_thread(identity.take, self.asked, self._ours(registered), elsewhere)

    async def _others(self, bus: Bus, found: Identity) -> frozenset[str]:
        """Return the agents of other accounts, if who was found is one; none on any other bus.

        A folder may have had its name here before this bus was joined.
        """
        account, url = self.asked.settings.account, self.asked.settings.url
        if not account or (url, account, found.me.id) in _OURS:
            return _NOBODY
        try:
            async with asyncio.timeout(_LOOK_S):
                theirs = await account_of(bus, found.me.id)
        except (BusUnreachable, Unconfirmed, TimeoutError):
            return _NOBODY  # what is sent now may be kept here until the bus is back
        if theirs == account:
            _OURS.add((url, account, found.me.id))
        if theirs in {"", account}:
            return _NOBODY
        entries = await roster.everybody(bus)
        others = (each.id for each in entries if each.account not in {"", account})
        return frozenset({found.me.id, *others})

    def _mine(self, found: Identity, others: frozenset[str]) -> Identity:
        """Return who was found, as long as it is no other account's.

        Raises:
            NameTaken: it is, and its user has named it.
        """
        if (name := found.me.id) not in others:
            return found
        free = spelling.beside(name, str(self.asked.settings.account), others)
        raise NameTaken(
            f"{name} is an agent of another account of this bus, or was. Nothing was stored.",
            hint=f"Take another name, such as {free}: where this one is given, by --agent, "
            "AGENTBUS_AGENT, .agentbus.toml or config.toml.",
        )

    def _found(self) -> tuple[Identity, NameBook]:
        book = names.read(self.asked.settings)
        return identity.find(self.asked, book), book

    def _ours(self, registered: frozenset[str]) -> frozenset[str]:
        """Return those of the registered ids that may be this machine's."""
        settings = self.asked.settings
        return registered & self.here.union(settings.agents) if settings.url else registered

    async def _elsewhere(
        self, bus: Bus, registered: frozenset[str], found: Identity, book: NameBook
    ) -> frozenset[str]:
        """Return what the roster has from elsewhere: the name that a file asks for, or any."""
        if _is_new_person(found):
            # Of an account it is known whose that name is. Else this machine's own book is the
            # first to know its user by a name, unless it was lost.
            account = self.asked.settings.account
            return _NOBODY if account else registered - self._ours(registered)
        file = found.doubtful
        if file is None or file.agent not in registered:
            return _NOBODY
        registration = await roster.registration(bus, file.agent)
        if not (registration and registration.last_seen):  # set up for somebody, and nobody's yet
            return _NOBODY
        # From before there was a book it may be this very folder's: nobody can date a file back to
        # that time. Where it is somebody else's, they are there now.
        before = book.before if book.since else self._ours(registered)
        if file.agent in before and file.changed_at < (book.since or time.time()):
            live = await roster.live_sessions(bus, file.agent)
            return frozenset({file.agent}) if live - self.silent() else _NOBODY
        return frozenset({file.agent})


class Rereading(Naming):
    """Of a session whose settings could not be read as it began: each call reads them again."""

    async def take(self, bus: Bus) -> Identity:
        """Read the settings, by which the bus is found then, and take the name.

        Raises:
            BadSetup: they cannot be read; and as `Naming.take`.
        """
        settings = load_settings(self.asked.settings.environ)
        bus.settings = settings  # it has connected to nothing: no call came so far
        return await Naming(replace(self.asked, settings=settings), self.here, self.silent).take(
            bus
        )


@dataclass(frozen=True)
class Refusing(Naming):
    """Of a session that was started by what makes no sense: it is nobody, as long as it lives."""

    fault: BadInput | BadSetup = field(default_factory=BadInput)

    async def take(self, _: Bus) -> Identity:
        """Say why there is no name.

        Raises:
            BadInput, BadSetup: always.
        """
        raise self.fault.saying()


async def _registered(bus: Bus) -> frozenset[str]:
    """Return the ids on the roster, which need not be there yet."""
    is_there = await streams.info(bus, AGENTS) is not None
    return await roster.registered(bus) if is_there else _NOBODY


def _asks_roster(found: Identity, book: NameBook) -> bool:
    """Tell whether the roster has a say: as the book begins, for a name of a file or a person."""
    return book.since is None or found.doubtful is not None or _is_new_person(found)


def _is_new_person(found: Identity) -> bool:
    """Tell whether a person has no name yet: others of theirs may be on the server."""
    return bool(found.takes and found.takes.host == names.PERSON and not found.is_settled)
