# SPDX-License-Identifier: Apache-2.0
"""A command that was typed: what, by whom, and where what it prints goes."""

from __future__ import annotations

import argparse
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core.feather.printer import EXIT_CODE
from mcp_agentbus.core.framing import spelled
from mcp_agentbus.errors import UnknownAgent
from mcp_agentbus.handoff.intake import arrivals
from mcp_agentbus.handoff.parked import parking
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.handoff.shell_session import shell_session
from mcp_agentbus.handoff.views import old_names
from mcp_agentbus.store import queues, roster, streams, subjects
from mcp_agentbus.store.outbox.outbox import Outbox
from mcp_agentbus.store.own_name import Naming


@dataclass(frozen=True)
class Command:
    """A command that was typed, and where."""

    args: argparse.Namespace
    #: How whoever typed it, there where it was typed, comes by its name.
    naming: Naming
    #: Takes what is to be printed, and the arguments that changed by it: with those another process
    #: would go on from here.
    out: Callable[[str, Mapping[str, Any]], None]
    #: A connection that is open already, and stays; None: it opens one of its own.
    open_bus: Bus | None = None
    #: Waits until what was printed has reached whoever typed it; None: it has once it is printed.
    reached: Callable[[], Awaitable[None]] | None = None
    #: Keeps what is sent while the bus is out of reach; None: nobody would hand it on.
    outbox: Outbox | None = None
    #: The process in which it was typed; 0 if that is not known.
    pid: int = 0
    #: As `out`, beside the data that a program reads; None: nobody takes that.
    aside: Callable[[str, Mapping[str, Any]], None] | None = None
    #: What its user should know of the name, and was not told yet.
    remarks: list[str] = field(default_factory=list)

    async def print_results(
        self, session: Session, text: str, data: object, exit_code: int = 0
    ) -> int:
        """Print an inbox, and note that it was seen: no later call of a shell says so.

        It is the last that the command prints; return the exit code.
        """
        self.end(text, data, exit_code)
        if self.reached:
            await self.reached()
        await session.outcomes.confirm()
        await arrivals.confirm(session.bus, session.claims)
        return exit_code

    def print(self, text: str, data: object, **changed: Any) -> None:
        """Print the text, or the data if that was asked for; `changed` as in `out`."""
        self.out(spelled(data) if self._as_json else text, changed)

    def say(self, sentence: str) -> None:
        """Tell a person something beside what is printed: among that, where nobody takes it."""
        if self.aside:
            self.aside(sentence, {})
        elif not self._as_json:
            self.out(sentence, {})

    def end(self, text: str, data: object, exit_code: int = 0) -> int:
        """Print the last that the command prints, as `print`; return the exit code.

        Whatever becomes of this process after it, nobody does the command again: so with it comes
        what is to be told besides.
        """
        self.print("\n".join([text, *self._untold()]), data, **{EXIT_CODE: exit_code})
        return exit_code

    def by(self, agent: str) -> Command:
        """Return the same command as one that an agent of this user's was named for."""
        asked = replace(self.naming.asked, given=agent)
        return replace(self, naming=replace(self.naming, asked=asked))

    @property
    def settings(self) -> Settings:
        """The settings of whoever typed it."""
        return self.naming.asked.settings

    @asynccontextmanager
    async def bus(self) -> AsyncGenerator[Bus, None]:
        """Open the bus, unless it is open."""
        if self.open_bus:
            yield self.open_bus
            return
        async with Bus(self.settings) as bus:
            yield bus

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[Session, None]:
        """Open the shell's session."""
        async with self.bus() as bus:
            found = await self.naming.take(bus)
            left = await old_names.under_old_names(bus, found.me.id)
            async with shell_session(bus, found.me, self.settings.state_dir, self.pid) as session:
                session.outbox = self.outbox
                self.remarks.extend(filter(None, (*found.remarks, *left, found.news)))
                yield session
        for remark in self._untold():
            self.out(remark, {})

    @asynccontextmanager
    async def looking(self) -> AsyncGenerator[Session, None]:
        """Open the shell's session for a look, which a name with a typing error does not get.

        Whoever opens a session is registered at its first call: everybody would see that name from
        then on. Who was not named is whom the folder or its host says, and may be new.

        Raises:
            UnknownAgent: nobody of the name that was given is registered, nor lies anything there.
        """
        async with self.session() as session:
            agent = session.me.id
            is_given = self.naming.asked.given and agent not in self.settings.agents
            if is_given and not await _is_known(session):
                raise UnknownAgent(f"No agent {agent!r} is registered. Nothing was done.")
            yield session

    @property
    def _as_json(self) -> bool:
        return getattr(self.args, "json", False)

    def _untold(self) -> Sequence[str]:
        """Take the remarks that were not told; a program that reads data is told none."""
        remarks = [] if self._as_json else list(self.remarks)
        self.remarks.clear()
        return remarks


async def _is_known(session: Session) -> bool:
    """Tell whether an agent is registered, or something lies in an inbox of its name.

    Without the bus of others nobody knows, and the look itself may do without.
    """
    bus = session.bus
    if bus.settings.url and not await bus.reconnected(0):
        return True
    await streams.ensure_streams(bus)
    if await roster.look(bus, session.me.id):
        return True
    for inbox in session.inboxes:
        if await queues.stored_tasks(bus, subjects.task_subject(inbox, "*", "*")):
            return True
        if await parking.parked(bus, inbox):
            return True
    return False
