# SPDX-License-Identifier: Apache-2.0
"""What other processes of this user have done here: whole sessions, and single commands.

    relayed = Relayed(state, commands)
    await relayed.serve(connection)    # a session, until it ends
    await relayed.typed(connection)    # `agentbus send ...`: what it prints, then its exit code

One connection to the bus does for all of them. Each is taken only from the same version of this
program and for the same bus; whoever is refused does its work itself. What a session holds is told
to its relay at each change, so that it can go on without this process.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

from mcp_agentbus.bus.embedded import is_cut_off
from mcp_agentbus.config.settings import Settings, neighbour_settings, server_of
from mcp_agentbus.core import ids
from mcp_agentbus.core.aio import part
from mcp_agentbus.errors import AgentbusError, BadInput
from mcp_agentbus.handoff.dispatch.rate import SENT_A_MINUTE, SendRate
from mcp_agentbus.handoff.inbox import WATCH_MAX_S
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.listener.carried.clock import is_same
from mcp_agentbus.listener.carried.order import Commands, Order, hear, received, told_to_go
from mcp_agentbus.listener.endpoint import Connection
from mcp_agentbus.listener.state import State
from mcp_agentbus.relay.carried import words
from mcp_agentbus.version import __version__

# A relay that ends has no time limit, but the next one of its host should find its tasks free.
_CLOSE_TIMEOUT_S: Final = 10.0
# A listener that ends leaves each session within 8 s, see `mcp_stream`, and what is undone there.
_LEAVE_TIMEOUT_S: Final = 9.0
_INTERRUPTED: Final = 130  # as a shell tells of SIGINT
_T = TypeVar("_T")

_log = logging.getLogger(__name__)


class Relayed:
    """The sessions and commands that are carried out here for other processes."""

    def __init__(self, state: State, commands: Commands) -> None:
        self._state = state
        self._commands = commands
        self._is_loaded = False
        self._serving: set[asyncio.Task[None]] = set()
        self._running: set[asyncio.Task[int]] = set()
        self._rate = SendRate(SENT_A_MINUTE)
        #: Set when the sessions are left to their relays.
        self._leaving = asyncio.Event()

    @property
    def commands(self) -> int:
        """How many commands are under way."""
        return len(self._running)

    async def leave(self, within_s: float = math.inf) -> None:
        """Have each session and command go on in its own process, with all that it holds.

        What a session has not done in that time, in seconds, its process does again.
        """
        self._leaving.set()
        for command in self._running:
            command.cancel()
        if self._serving:
            await asyncio.wait(self._serving, timeout=min(within_s, _LEAVE_TIMEOUT_S))
        for session in self._serving:
            session.cancel()

    def tell_claims(self, session_id: str) -> None:
        """Tell a session's relay what the session holds, if both are here."""
        session, member = self._state.sessions.get(session_id), self._state.members.get(session_id)
        if session and member:
            member.say({"op": "claims", "claims": session.claims.references()})

    async def serve(self, connection: Connection) -> None:
        """Serve a session for the relay at the other end until one of both ends.

        Raises:
            BadInput, BadSetup: it is not for this listener.
        """
        session = await self._session(connection.request)
        me = session.me
        server = server_of(self._state.bus.settings)
        who = {"agent": me.id, "host": me.host, "roles": me.roles}
        connection.say({"serving": session.id, **who, "server": server})
        self._state.sessions[session.id] = session
        # Before Python 3.12 asyncio logs a traceback where a connection's own task is cancelled.
        serving = _begun(self._serve(session, connection), self._serving)
        await asyncio.wait([serving])
        del self._state.sessions[session.id]
        if not serving.cancelled() and (error := serving.exception()):
            _log.error("a relayed session failed", exc_info=error)

    async def _serve(self, session: Session, connection: Connection) -> None:
        given = connection.request.get("watch_max_s")
        watch_max_s = float(given) if isinstance(given, int | float) else WATCH_MAX_S
        try:
            serve = await asyncio.to_thread(_load)
            await serve(
                session,
                connection.reader,
                connection.writer,
                called=lambda: self._called(session),
                leaving=self._leaving,
                watch_max_s=watch_max_s,
            )
        finally:
            if self._leaving.is_set():
                await session.settled()
            else:
                with suppress(AgentbusError, TimeoutError):
                    async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                        await session.close()

    async def _called(self, session: Session) -> tuple[str, ...]:
        """Note a call, the first of which may change who the session is, and what it reads.

        Then its process is told, and says so to the loop.
        """
        remarks = await session.take_name()
        self._state.called(session.id)
        member = self._state.members.get(session.id)
        me = session.me
        if member and (member.agent, member.roles) != (me.id, me.roles):
            member.say({"op": "named", "agent": me.id, "roles": me.roles})
        return remarks

    async def _session(self, request: Mapping[str, Any]) -> Session:
        theirs = self._taken(request)
        session_id = str(request.get("session", ""))
        if not ids.is_label(session_id) or session_id in self._state.sessions:
            raise BadInput("A session is served under an id of its own.")
        naming = self._state.naming(theirs, request)
        me = (await self._state.identified(naming)).me
        hosted, only = (str(request.get(name, "")) for name in ("hosted", "only"))
        session = Session(
            self._state.bus,
            me,
            id=session_id,
            naming=naming,
            hosted=hosted,
            only=only,
            rate=self._rate,
            outbox=self._state.outbox,
        )
        session.claims.on_change = lambda: self.tell_claims(session_id)
        return session

    async def typed(self, connection: Connection) -> None:
        """Read a command as it was typed, carry it out, and say what it prints and its exit code.

        Raises:
            BadInput, BadSetup: it is not for this listener.
            ValueError: it is none.
        """
        typed = await received(connection)
        theirs = self._taken({**connection.request, "environ": typed.environ})
        time.tzset()  # a laptop travels
        if not is_same(typed.zone, words.zone(os.environ)):
            raise BadInput("This listener's clock is another one.")
        if not self._is_loaded:
            await asyncio.to_thread(self._commands.load)
            self._is_loaded = True
        args = self._commands.read(typed.words)
        if args is None:
            connection.writer.write(words.frame("left"))
            return
        asked = self._commands.asking(args)
        connection.writer.write(words.frame("read", asked) if asked else words.frame("taken"))
        await connection.writer.drain()
        # Whoever has heard nothing for a while has gone, or has done it without a listener: what
        # was asked is done once that process says that it still waits for it.
        telling = part(told_to_go(connection))
        await _until_either_ends(telling, part(_come(self._leaving)))
        text = None if telling.cancelled() else telling.result()
        if text is None or self._leaving.is_set():
            return
        agent = getattr(args, "agent", None)
        is_persons = not (agent or typed.is_hosted)
        who = {"folder": typed.folder, "agent": agent, "is_persons": is_persons}
        naming = self._state.naming(theirs, who)
        await self._carry_out(
            Order(
                args, typed, naming, theirs, self._state.bus, self._state.outbox, connection, text
            )
        )

    async def _carry_out(self, order: Order) -> None:
        running = _begun(self._commands.start(order), self._running)
        await _until_either_ends(running, part(hear(order)))
        if self._leaving.is_set() and running.cancelled():
            return  # its process does it, as nobody has said that it is done
        with suppress(asyncio.CancelledError):
            order.connection.writer.write(words.frame("end", self._code(order, running)))
            await order.connection.writer.drain()

    def _code(self, order: Order, running: asyncio.Task[int]) -> int:
        """Return the exit code of a command that has ended; have its error printed."""
        if running.cancelled():
            return _INTERRUPTED
        error = running.exception()
        if error is None:
            return running.result()
        if not isinstance(error, AgentbusError):
            _log.error("a command failed", exc_info=error)
            error = AgentbusError(
                f"It failed inside the listener: {type(error).__name__}.",
                hint="That is a bug; the listener's log has the details. "
                "`agentbus listen --stop` has commands do their work themselves.",
            )
        return self._commands.complain(order, error)

    def _taken(self, request: Mapping[str, Any]) -> Settings:
        """Return the settings of a process that asks for work, which has its own environment.

        Raises:
            BadInput: it is of another version, or on another bus; or this one reaches no bus.
            BadSetup: its configuration cannot be read.
        """
        if request.get("version") != __version__:
            raise BadInput(f"This listener is agentbus {__version__}.")
        if self._state.settings.url is None and is_cut_off(self._state.settings):
            raise BadInput("The bus server is in another network than this listener.")
        return neighbour_settings(self._state.bus.settings, request.get("environ"))


def _begun(work: Coroutine[Any, Any, _T], among: set[asyncio.Task[_T]]) -> asyncio.Task[_T]:
    """Begin some work, which is `among` those under way until it ends."""
    task = part(work)
    among.add(task)
    task.add_done_callback(among.discard)
    return task


async def _come(event: asyncio.Event) -> None:
    await event.wait()


async def _until_either_ends(work: asyncio.Task[_T], gone: asyncio.Task[None]) -> None:
    """Wait for the end of some work, or that nobody waits for it any more; then end both."""
    await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
    for task in (work, gone):
        task.cancel()
    await asyncio.wait({work, gone})


def _load() -> Any:
    # Not at the top: a listener without relayed sessions does without the MCP SDK.
    from mcp_agentbus.tools.mcp_stream import serve

    return serve
