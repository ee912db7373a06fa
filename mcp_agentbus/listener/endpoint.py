# SPDX-License-Identifier: Apache-2.0
"""The listener's end of the local socket: who connects, and who answers which question.

    endpoint = Endpoint({"status": requests.status, "serve": relayed.serve})
    await endpoint.accept(listening_socket(settings))

A connection begins with one line, whose `op` names its handler; what follows is between the two of
them. Nobody but this user's processes is heard, and a refusal is a line as well:

    {"error": "The listener knows no such question.", "hint": ...}

It knows no question itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import locks, places, processes
from mcp_agentbus.core.aio import in_background
from mcp_agentbus.core.children import descriptors
from mcp_agentbus.errors import AgentbusError, BadInput
from mcp_agentbus.relay import door, local_socket, seat

# A connection that says nothing is closed after this long.
_FIRST_LINE_S: Final = 10.0
# Endpoint end at once when they are closed.
_CLOSE_TIMEOUT_S: Final = 1.0

# Without a descriptor for one that connects it is tried again after so long, and told so seldom.
_REST_S: Final = 1.0
_TOLD_EVERY_S: Final = 60.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Connection:
    """A connection of a process of this user, and the line that it began with."""

    request: Mapping[str, Any]
    #: Of that process, as the kernel knows it; 0 of one in another container.
    pid: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def say(self, message: Mapping[str, Any]) -> None:
        """Send a line; it is on its way when the writer is drained."""
        self.writer.write(local_socket.line(message))

    def refuse(self, error: AgentbusError) -> None:
        """Say why what was asked is not done, and what to do next."""
        self.say({"error": error.message, "hint": error.hint})


#: Answers a connection and returns when that is over. An `AgentbusError` of it is told there.
Handler = Callable[[Connection], Awaitable[None]]


class Endpoint:
    """The local socket of a listener; each connection is answered in a task of its own."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        #: By the `op` of a connection's first line.
        self._handlers = handlers
        self._listening: socket.socket | None = None
        self._told_at = -math.inf
        self._open: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}

    async def accept(self, listening: socket.socket) -> None:
        """Answer on a socket that listens, until `close`, and on no earlier one any more."""
        self.close()
        self._listening = listening
        self._listen(listening)

    def close(self) -> None:
        """Let nobody in any more; those that are here go on."""
        if self._listening:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
            self._listening = None

    def _listen(self, listening: socket.socket) -> None:
        if self._listening is listening:
            asyncio.get_running_loop().add_reader(listening, self._let_in, listening)

    def _let_in(self, listening: socket.socket) -> None:
        """Let one in that waits; without a descriptor for it, try that again in a second.

        asyncio's own servers try it at once, a hundred times more with each that fails.
        """
        loop = asyncio.get_running_loop()
        try:
            connection = _accepted(listening)
        except (BlockingIOError, ConnectionError):  # it has gone meanwhile
            return
        except OSError as error:
            loop.remove_reader(listening)
            loop.call_later(_REST_S, self._listen, listening)
            if loop.time() - self._told_at > _TOLD_EVERY_S:
                self._told_at = loop.time()
                none_left = f"{descriptors.NONE_LEFT}: {descriptors.MEND}"
                why = none_left if descriptors.are_gone(error) else type(error).__name__
                _log.error("no connection is let in: %s", why)  # nothing raised it
            return
        in_background(self._begin(connection), "connection")

    async def _begin(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=local_socket.LINE_MAX_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader, self._connected)
        try:
            await loop.connect_accepted_socket(lambda: protocol, connection)
        except OSError:
            connection.close()

    async def ended(self) -> None:
        """Wait until all have ended, but not for long; then cut those off that do not read."""
        if self._open:
            await asyncio.wait(self._open, timeout=_CLOSE_TIMEOUT_S)
        # What waits for a reader would go on to wait, also where it is cancelled: for as long as
        # somebody looks at the first page of what a pager has.
        for writer in self._open.values():
            writer.transport.abort()
        if self._open:
            await asyncio.wait(self._open, timeout=_CLOSE_TIMEOUT_S)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task  # noqa: S101 - for mypy: a coroutine runs in one
        self._open[task] = writer
        task.add_done_callback(self._open.pop)
        try:
            uid, pid = door.peer(writer.get_extra_info("socket"))
            if uid == os.getuid():
                async with asyncio.timeout(_FIRST_LINE_S):
                    request = local_socket.message(await reader.readline())
                await self._answer(Connection(request, pid, reader, writer))
        except (OSError, ValueError) as error:
            _log.debug("a connection ended: %s", type(error).__name__)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, connection: Connection) -> None:
        try:
            handler = self._handlers.get(str(connection.request.get("op")))
            if not handler:
                raise BadInput("The listener knows no such question.")
            await handler(connection)
        except AgentbusError as error:
            connection.refuse(error)
        await connection.writer.drain()


def _accepted(listening: socket.socket) -> socket.socket:
    """Return the next that has connected.

    Raises:
        OSError: nobody has, or no descriptor is left.
    """
    connection, _ = listening.accept()
    connection.setblocking(False)
    return connection


class Door:
    """Where the endpoint is reached: a socket file, made anew where it or its folder is gone.

    Its folder is removed at logout, by tmpfiles or by a person; another one may then be the one in
    which all look for a listener.
    """

    def __init__(self, settings: Settings, endpoint: Endpoint) -> None:
        self._settings = settings
        self._endpoint = endpoint
        #: The file as it was made: the kernel gives its number to no other while it is bound.
        self._made: os.stat_result | None = None
        self._lock = -1
        #: Whether the listener ends: then it stays as it is.
        self.is_closed = False

    @property
    def path(self) -> Path:
        """The socket file, in the folder in which all look for it at this moment."""
        return Path(local_socket.socket_path(self._settings))

    @property
    def is_open(self) -> bool:
        """Whether whoever looks for this listener finds it."""
        folder = Path(places.runtime_folder(self._settings.environ))
        try:
            there = folder.lstat(), (folder / self.path.name).lstat()
            lock = Path(seat.door_lock(self._settings)).lstat()
        except OSError:
            return False
        private = there[0].st_uid == os.getuid() and not there[0].st_mode & 0o077
        ours = self._made is not None and os.path.samestat(there[1], self._made)
        return private and ours and self._lock >= 0 and os.path.samestat(lock, os.fstat(self._lock))

    async def open(self) -> None:
        """Take connections there.

        Raises:
            OSError: the folder is somebody else's, or cannot be used.
            BlockingIOError: another listener takes them there.
        """
        folder = Path(places.runtime_folder(self._settings.environ))
        self._settings = replace(self._settings, runtime_dir=folder)
        check_folder(folder)
        self._take_lock(Path(seat.door_lock(self._settings)))
        listening = listening_socket(self._settings)
        self._made = self.path.lstat()
        await self._endpoint.accept(listening)

    def close(self) -> None:
        """Let nobody in any more, and leave nothing behind."""
        self.is_closed = True
        self._endpoint.close()
        with contextlib.suppress(OSError):
            if self._made and os.path.samestat(self.path.lstat(), self._made):
                self.path.unlink()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _take_lock(self, path: Path) -> None:
        if self._lock >= 0:
            with contextlib.suppress(OSError):
                if os.path.samestat(path.lstat(), os.fstat(self._lock)):
                    return
        lock = locks.take(path, wait=False)  # `check_folder` has seen whose folder it is
        if lock is None:
            raise BlockingIOError(f"{path} is held by another listener")
        locks.sign(lock, processes.known(os.getpid()))
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = lock


def check_folder(folder: Path) -> None:
    """Make the folder of the socket, if need be, this user's alone.

    Raises:
        OSError: it is somebody else's, or cannot be used.
    """
    places.make_private(folder)
    if folder.is_symlink() or folder.lstat().st_uid != os.getuid():
        raise PermissionError(f"{folder} is a symlink or belongs to another user")
    folder.chmod(0o700)


def listening_socket(settings: Settings) -> socket.socket:
    """Return a socket that listens for this user's processes, 0600 in a folder of theirs alone.

    Whoever calls it holds the listener's lock, so what lies there is a dead listener's.

    Raises:
        OSError: the folder is somebody else's, or cannot be used.
    """
    folder, path = settings.runtime_dir, Path(local_socket.socket_path(settings))
    check_folder(folder)
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    try:
        with door.Address(str(path)) as short:
            listening.bind(short)
        path.chmod(0o600)
        listening.listen(128)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening
