# SPDX-License-Identifier: Apache-2.0
"""The listener's end of the local socket: the sessions that live here, and who asks about them.

    hub = Hub(changed=look_at, answer=answer)
    await hub.serve(listening_socket(settings))

A session is there for as long as its connection is: one that was killed is gone at once, whatever
it left behind. What it says of itself is checked against what the kernel says of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import ids
from mcp_agentbus.errors import AgentbusError, BadInput
from mcp_agentbus.relay import local_socket

#: A session that takes longer to pass a notice on counts as one that cannot.
NUDGE_TIMEOUT_S: Final = 5.0
#: Why such a notice was not shown, as far as is known.
HANGS: Final = "its session did not take the notice"
# More sessions than one user opens; stops a program that opens them in a loop.
_MEMBERS_MAX: Final = 500
# A connection that says nothing is closed after this long.
_FIRST_LINE_S: Final = 10.0

# Connections end at once when they are closed.
_CLOSE_TIMEOUT_S: Final = 1.0

_log = logging.getLogger(__name__)


Stream = Callable[[dict[str, Any], asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(eq=False)
class Member:
    """A live session of this machine."""

    agent: str
    host: str
    session: str
    pid: int
    #: Whether its own process can put a notice before its model.
    can_nudge: bool
    #: The host's own id of the conversation; empty if it has told none.
    host_session: str
    writer: asyncio.StreamWriter
    joined_at: float = field(default_factory=time.monotonic)
    #: When a tool was last called in it; monotonic.
    called_at: float = 0.0
    answers: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)


class Hub:
    """The live sessions, and the questions of commands and hooks."""

    def __init__(
        self,
        changed: Callable[[Member, str], None],
        answer: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]],
    ) -> None:
        #: Called with a session that `joined`, `called` or `left`.
        self._changed = changed
        self._answer = answer
        #: What has a connection for itself until it ends, by the `op` of its first line.
        self.streams: dict[str, Stream] = {}
        self._members: dict[str, Member] = {}
        self._numbers = itertools.count(1)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[Any]] = set()

    @property
    def members(self) -> tuple[Member, ...]:
        """All live sessions, the one that was used last first."""
        return tuple(
            sorted(
                self._members.values(), key=lambda one: (one.called_at, one.joined_at), reverse=True
            )
        )

    def of(self, agent: str) -> tuple[Member, ...]:
        """An agent's live sessions, the one that was used last first."""
        return tuple(one for one in self.members if one.agent == agent)

    def tell(self, session: str, message: Mapping[str, Any]) -> None:
        """Tell a session's process something, if it is there."""
        if member := self._members.get(session):
            member.writer.write(local_socket.line(message))

    def called(self, session: str) -> None:
        """Note that a tool was called in a session."""
        if member := self._members.get(session):
            member.called_at = time.monotonic()
            self._changed(member, "called")

    async def serve(self, listener: socket.socket) -> None:
        """Answer on a socket that listens, until `close`."""
        self._server = await asyncio.start_unix_server(
            self._connected, sock=listener, limit=local_socket.LINE_MAX_BYTES
        )

    async def close(self) -> None:
        """Stop answering; the sessions go on without a listener."""
        if self._server:
            self._server.close()
        for member in list(self._members.values()):
            member.writer.close()
        if self._connections:
            await asyncio.wait(self._connections, timeout=_CLOSE_TIMEOUT_S)

    async def nudge(self, member: Member, text: str, results: tuple[str, ...] = ()) -> str:
        """Have a session's own process show a notice; return "" or why it was not shown."""
        number = next(self._numbers)
        member.answers[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(NUDGE_TIMEOUT_S):
                request = {"op": "nudge", "n": number, "text": text, "results": results}
                member.writer.write(local_socket.line(request))
                await member.writer.drain()
                answer = await member.answers[number]
        except (TimeoutError, OSError):
            return HANGS
        finally:
            del member.answers[number]
        return "" if answer.get("shown") is True else str(answer.get("why", ""))[:200]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task  # noqa: S101 - for mypy: a coroutine runs in one
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        try:
            uid, pid = local_socket.peer(writer.get_extra_info("socket"))
            if uid != os.getuid():
                return
            async with asyncio.timeout(_FIRST_LINE_S):
                request = local_socket.message(await reader.readline())
            if request.get("op") == "join":
                await self._joined(request, pid, reader, writer)
            elif stream := self.streams.get(str(request.get("op"))):
                await self._streamed(stream, request, reader, writer)
            else:
                writer.write(local_socket.line(await self._answered(request)))
                await writer.drain()
        except (OSError, ValueError, TimeoutError) as error:
            _log.debug("a connection ended: %s", type(error).__name__)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _streamed(
        self,
        stream: Stream,
        request: dict[str, Any],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        try:
            await stream(request, reader, writer)
        except AgentbusError as error:
            writer.write(local_socket.line({"error": error.message, "hint": error.hint}))
            await writer.drain()

    async def _answered(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return await self._answer(request)
        except AgentbusError as error:
            return {"error": error.message, "hint": error.hint}

    async def _joined(
        self,
        request: dict[str, Any],
        pid: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Keep a session for as long as its connection lasts."""
        try:
            member = _member(request, pid, writer)
            if len(self._members) >= _MEMBERS_MAX:
                raise BadInput("Too many sessions are open.")
        except BadInput as error:
            writer.write(local_socket.line({"error": error.message, "hint": error.hint}))
            await writer.drain()
            return
        self._members[member.session] = member
        writer.write(local_socket.line({"joined": member.session}))
        self._changed(member, "joined")
        try:
            while received := await reader.readline():
                self._heard(member, local_socket.message(received))
        finally:
            if self._members.get(member.session) is member:
                del self._members[member.session]
                self._changed(member, "left")
            for waiting in member.answers.values():
                if not waiting.done():
                    waiting.set_result({"why": "its session has ended"})

    def _heard(self, member: Member, said: dict[str, Any]) -> None:
        if said.get("op") == "called":
            self.called(member.session)
            return
        waiting = member.answers.get(said.get("n", 0))
        if waiting and not waiting.done():
            waiting.set_result(said)


def listening_socket(settings: Settings) -> socket.socket:
    """Return a socket that listens for this user's processes, 0600 in a folder of theirs alone.

    Whoever calls it holds the listener's lock, so what lies there is a dead listener's.

    Raises:
        OSError: the folder is somebody else's, or cannot be used.
    """
    folder, path = settings.runtime_dir, Path(local_socket.socket_path(settings))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.lstat().st_uid != os.getuid():
        raise PermissionError(f"{folder} is a symlink or belongs to another user")
    folder.chmod(0o700)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    try:
        with local_socket.address(str(path)) as short:
            listener.bind(short)
        path.chmod(0o600)
        listener.listen(128)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _member(request: dict[str, Any], pid: int, writer: asyncio.StreamWriter) -> Member:
    session, host = str(request.get("session", "")), str(request.get("host", ""))
    host_session = str(request.get("host_session", ""))
    if not ids.is_label(session) or not ids.is_inbox(host):
        raise BadInput("A session joins with its id and its host.")
    return Member(
        agent=ids.agent_id(str(request.get("agent", ""))),
        host=host,
        session=session,
        pid=pid,
        can_nudge=request.get("can_nudge") is True,
        host_session=host_session if ids.is_label(host_session) else "",
        writer=writer,
    )
