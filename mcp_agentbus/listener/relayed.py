# SPDX-License-Identifier: Apache-2.0
"""Sessions that the listener serves for their relays: one server each, one connection for all.

    hosting = Hosting(bus, tell)
    await hosting.serve(request, reader, writer)    # until that session ends

What a session holds is told to its relay at each change, so that it can go on without this process.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config import identity
from mcp_agentbus.config.settings import neighbour_settings
from mcp_agentbus.core import ids
from mcp_agentbus.errors import AgentbusError, BadInput
from mcp_agentbus.handoff.claims import references
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.relay import command, local_socket
from mcp_agentbus.tools import commands
from mcp_agentbus.version import __version__

_log = logging.getLogger(__name__)

# A relay that ends has no time limit, but the next one of its host should find its tasks free.
_CLOSE_TIMEOUT_S: Final = 10.0


class Hosting:
    """The relayed sessions."""

    def __init__(
        self,
        bus: Bus,
        tell: Callable[[str, Mapping[str, Any]], None],
        called: Callable[[str], None],
    ) -> None:
        self._bus = bus
        #: Tells the relay of a session something.
        self._tell = tell
        #: Told of the session that called a tool.
        self._called = called
        self._sessions: dict[str, Session] = {}
        self._serving: set[asyncio.Task[Any]] = set()
        self._leaving = False

    @property
    def count(self) -> int:
        """How many sessions are served."""
        return len(self._sessions)

    def has_shown(self, session_id: str, results: tuple[str, ...]) -> bool:
        """Tell whether a session was shown all these results."""
        session = self._sessions.get(session_id)
        return session is not None and bool(results) and set(results) <= set(session.shown)

    def tell_claims(self, session_id: str) -> None:
        """Tell a session's relay what the session holds."""
        session = self._sessions.get(session_id)
        if session:
            claims = references(session.claims.values())
            self._tell(session_id, {"op": "claims", "claims": claims})

    async def serve(
        self,
        request: Mapping[str, Any],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Serve a session for the relay at the other end until one of both ends.

        Raises:
            BadInput, BadSetup: it is not for this listener; the relay serves it itself.
        """
        session = self._new(request)
        me = session.me
        writer.write(local_socket.line({"serving": session.id, "agent": me.id, "host": me.host}))
        self._sessions[session.id] = session
        # Before Python 3.12 asyncio logs a traceback where a connection's own task is cancelled.
        serving = asyncio.create_task(self._serve(session, reader, writer))
        self._serving.add(serving)
        await asyncio.wait([serving])
        self._serving.discard(serving)
        del self._sessions[session.id]
        if not serving.cancelled() and (error := serving.exception()):
            _log.error("a relayed session failed", exc_info=error)

    async def _serve(
        self, session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            serve = await asyncio.to_thread(_load)
            await serve(session, reader, writer, called=lambda: self._called(session.id))
        finally:
            # A listener that ends leaves its sessions to their relays, with all that they hold.
            if not self._leaving:
                with suppress(AgentbusError, TimeoutError):
                    async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                        await session.close()

    def leave(self) -> None:
        """Leave all sessions to their relays."""
        self._leaving = True
        for task in self._serving:
            task.cancel()

    def _new(self, request: Mapping[str, Any]) -> Session:
        if request.get("version") != __version__:
            raise BadInput(f"This listener is agentbus {__version__}.")
        session_id = str(request.get("session", ""))
        if not ids.is_label(session_id) or session_id in self._sessions:
            raise BadInput("A session is served under an id of its own.")
        theirs = neighbour_settings(self._bus.settings, request.get("environ"))
        given, folder = request.get("agent"), Path(str(request.get("folder")))
        me = identity.who(theirs, given and str(given), folder)
        session = Session(self._bus, me, id=session_id)
        session.on_claims = lambda: self.tell_claims(session_id)
        return session


def _load() -> Any:
    # Not at the top: a listener without relayed sessions does without the MCP SDK.
    from mcp_agentbus.tools.mcp_stream import serve

    return serve


_log = logging.getLogger(__name__)


class Commanding:
    """Carries out commands."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._running: set[asyncio.Task[int]] = set()

    @property
    def count(self) -> int:
        """How many commands are under way."""
        return len(self._running)

    async def run(
        self,
        request: Mapping[str, Any],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Carry out a command and say what it prints, then its exit code.

        Raises:
            BadInput, BadSetup: it is not for this listener; it is done where it was typed.
        """
        given = request.get("args")
        if request.get("version") != __version__ or not isinstance(given, dict):
            raise BadInput(f"This listener is agentbus {__version__}.")
        if given.get("command") not in command.COMMANDS:
            raise BadInput("That is no command for a listener.")
        theirs = neighbour_settings(self._bus.settings, request.get("environ"))
        # Whoever has heard nothing for a while has gone, or has done it without a listener: what
        # was asked is done once that process says that it still waits for it.
        writer.write(local_socket.line({"taken": True}))
        await writer.drain()
        if not (await reader.readline()).endswith(b"\n"):
            return

        def out(text: str) -> None:
            writer.write(local_socket.line({"out": text}))

        place = commands.Place(out, Path(str(request.get("folder"))), self._bus)
        work = commands.start(argparse.Namespace(**given), theirs, place)
        running = asyncio.create_task(work)
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        gone = asyncio.create_task(reader.read(1))
        await asyncio.wait({running, gone}, return_when=asyncio.FIRST_COMPLETED)
        for task in (running, gone):
            task.cancel()
        await asyncio.wait({running, gone})
        with suppress(asyncio.CancelledError):
            writer.write(local_socket.line(_end(running)))
            await writer.drain()


def _end(running: asyncio.Task[int]) -> dict[str, Any]:
    if running.cancelled():
        return {"code": 130}
    error = running.exception()
    if error is None:
        return {"code": running.result()}
    if isinstance(error, AgentbusError):
        return {"kind": type(error).__name__, "error": error.message, "hint": error.hint}
    _log.error("a command failed", exc_info=error)
    return {
        "kind": "AgentbusError",
        "error": f"It failed inside the listener: {type(error).__name__}.",
        "hint": "That is a bug; the listener's log has the details. "
        "`agentbus listen --stop` has commands do their work themselves.",
    }
