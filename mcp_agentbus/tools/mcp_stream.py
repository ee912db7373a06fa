# SPDX-License-Identifier: Apache-2.0
"""A session's server on a stream of JSON lines, which is MCP's stdio transport on any descriptor.

    reader, writer = await asyncio.open_connection(sock=connection)
    await serve(session, reader, writer)

The same for a session in a process of its own and for one of many in the listener. A client with 64
requests under way waits with the next one. It opens nothing and closes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final

import anyio
import mcp_types as types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage

from mcp_agentbus.core.lines import Lines
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.tools.mcp_server import make_server

# What one client may have under way; hosts call a handful of tools at once.
_UNANSWERED_MAX: Final = 64
_CHUNK_BYTES: Final = 64 * 1024


async def serve(
    session: Session,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    *,
    called: Callable[[], None] = lambda: None,
    interrupted: Collection[types.RequestId] = (),
) -> None:
    """Serve a session on a stream until its end; neither is closed.

    Args:
        session: whose tools they are.
        reader: what the client says, a line each, as in MCP's stdio transport.
        writer: what it is told.
        called: as in `make_server`.
        interrupted: as in `make_server`.
    """
    server = make_server(session, called, interrupted)
    to_server, received = anyio.create_memory_object_stream[SessionMessage | Exception]()
    sent, from_server = anyio.create_memory_object_stream[SessionMessage]()
    unanswered = Unanswered()
    async with anyio.create_task_group() as group:
        group.start_soon(_read, reader, to_server, unanswered)
        group.start_soon(_write, writer, from_server, unanswered, group.cancel_scope.cancel)
        await server.run(received, sent, server.create_initialization_options())
        group.cancel_scope.cancel()


class Unanswered:
    """The requests of one client that are under way: who floods waits, and nobody else does."""

    def __init__(self) -> None:
        self._ids: set[types.RequestId] = set()
        self._fewer = asyncio.Event()

    async def room(self) -> None:
        """Wait until another request may come in."""
        while len(self._ids) >= _UNANSWERED_MAX:
            self._fewer.clear()
            await self._fewer.wait()

    def received(self, message: types.JSONRPCMessage) -> None:
        """Note what the client said."""
        if isinstance(message, types.JSONRPCRequest):
            self._ids.add(message.id)
        elif isinstance(message, types.JSONRPCNotification):
            cancelled = message.method == "notifications/cancelled" and message.params
            self._over(cancelled.get("requestId") if cancelled else None)

    def answered(self, message: types.JSONRPCMessage) -> None:
        """Note what the server said."""
        if isinstance(message, types.JSONRPCResponse | types.JSONRPCError):
            self._over(message.id)

    def _over(self, request: types.RequestId | None) -> None:
        if request is not None:
            self._ids.discard(request)
            self._fewer.set()


async def _read(
    reader: asyncio.StreamReader,
    to_server: MemoryObjectSendStream[SessionMessage | Exception],
    unanswered: Unanswered,
) -> None:
    """Give the server what the client says; what is no message is the server's to answer."""
    lines = Lines()
    with suppress(ConnectionError, anyio.BrokenResourceError):
        async with to_server:
            while piece := await reader.read(_CHUNK_BYTES):
                for line in lines.ended_by(piece):
                    await unanswered.room()
                    try:
                        message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
                    except ValueError as error:
                        await to_server.send(error)
                    else:
                        unanswered.received(message)
                        await to_server.send(SessionMessage(message))


async def _write(
    writer: asyncio.StreamWriter,
    from_server: MemoryObjectReceiveStream[SessionMessage],
    unanswered: Unanswered,
    gone: Callable[[], None],
) -> None:
    """Say to the client what the server does; call `gone` if there is no client any more."""
    try:
        async with from_server:
            async for answer in from_server:
                unanswered.answered(answer.message)
                line = answer.message.model_dump_json(by_alias=True, exclude_unset=True)
                writer.write(line.encode() + b"\n")
                await writer.drain()
    except ConnectionError:
        gone()
