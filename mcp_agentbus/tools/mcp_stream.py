# SPDX-License-Identifier: Apache-2.0
"""A session's server on a stream of JSON lines, which is MCP's stdio transport on any descriptor.

    reader, writer = await asyncio.open_connection(sock=connection)
    await serve(session, reader, writer)

The same for a session in a process of its own and for one of many in the listener. What it reads
was read by the session's relay before, which refuses what is no message. A client with 64 requests
under way waits with the next one. It opens nothing and closes nothing.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import anyio
import mcp_types as types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage

from mcp_agentbus.core import lines
from mcp_agentbus.core.lines import LEAVING, LEFT, Lines
from mcp_agentbus.handoff.call import Calls
from mcp_agentbus.handoff.inbox import WATCH_MAX_S
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.tools.catalog import WAITING
from mcp_agentbus.tools.mcp_server import Called, make_server, says_nothing

# What one client may have under way; hosts call a handful of tools at once.
_UNANSWERED_MAX: Final = 64
_CHUNK_BYTES: Final = 64 * 1024
_CALL: Final = "tools/call"
# Twice what a relay passes on.
_LINE_MAX_BYTES: Final = 16 * 1024 * 1024
# In seconds: a call takes milliseconds. One that takes so long holds up no other any more: each is
# to be answered within 5 s.
_TURN_S: Final = 0.3
# A client that has said so many without waiting for an answer floods: from then on the others have
# as much time between its requests as each of them takes.
_FLOOD: Final = 16
# In seconds. A call that was said right before the end of the input is answered for so long; hosts
# kill a server that needs 2 s to end.
_LAST_CALLS_S: Final = 0.5
# A server that leaves goes on until the session has another one, which loads for a second or two,
# and then answers what it has begun.
_REPLACED_WITHIN_S: Final = 6.0
_LEAVES_WITHIN_S: Final = 2.0
_NO_MESSAGE: Final = types.JSONRPCError(
    jsonrpc="2.0",
    id=None,
    error=types.ErrorData(code=types.INVALID_REQUEST, message="The line is no message of MCP."),
)


async def serve(
    session: Session,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    *,
    called: Called = says_nothing,
    leaving: asyncio.Event | None = None,
    watch_max_s: float = WATCH_MAX_S,
) -> None:
    """Serve a session on a stream until its end; neither is closed.

    Args:
        session: whose tools they are.
        reader: what the client says, a line each, as in MCP's stdio transport.
        writer: what it is told.
        called: as in `make_server`.
        leaving: once it is set, and the session has another server, what is under way is answered
            but for calls that wait for work; these are left to the other one, and all that follows.
        watch_max_s: as in `make_server`.
    """
    server = make_server(session, called, watch_max_s)
    stream = _Stream(reader, writer, session.calls)
    to_server, received = anyio.create_memory_object_stream[SessionMessage | Exception]()
    # With room for every answer: none waits for the client as it is given out.
    sent, from_server = anyio.create_memory_object_stream[SessionMessage](2 * _UNANSWERED_MAX)
    with to_server, from_server:
        async with anyio.create_task_group() as group:

            async def leave(leaving: asyncio.Event, serving: anyio.CancelScope) -> None:
                await leaving.wait()
                await stream.leave()
                serving.cancel()

            group.start_soon(stream.read, to_server, sent)
            group.start_soon(stream.write, from_server, group.cancel_scope.cancel)
            with anyio.CancelScope() as serving:
                if leaving:
                    group.start_soon(leave, leaving, serving)
                await server.run(received, sent, server.create_initialization_options())
            # What it has said last is written, and then `write` ends all of this.
            await anyio.sleep(_LAST_CALLS_S)
            group.cancel_scope.cancel()


class _Stream:
    """What one client says and is told, and which of its requests are under way.

    They are begun one by one, as long as each is answered soon: of ten thousand at once the client
    itself waits for the last, and no other session does.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, calls: Calls
    ) -> None:
        self._reader, self._writer = reader, writer
        #: Told of each call of a tool when it comes, and of the end of each request.
        self._known = calls
        self._reading = anyio.CancelScope()
        #: When each request came, by its id; those that wait for work are never waited for.
        self._calls: dict[types.RequestId, float] = {}
        self._waiting: set[types.RequestId] = set()
        self._fewer = asyncio.Event()
        #: Whether what is not answered is left to the session's next server.
        self._leaves = False
        #: Set when the session has another server.
        self._replaced = asyncio.Event()
        #: How many requests came before the one ahead was answered.
        self._in_a_row = 0

    async def read(
        self,
        to_server: MemoryObjectSendStream[SessionMessage | Exception],
        sent: MemoryObjectSendStream[SessionMessage],
    ) -> None:
        """Give the server what the client says."""
        stream = Lines(_LINE_MAX_BYTES)
        with self._reading:
            with suppress(ConnectionError, anyio.BrokenResourceError):
                while piece := await self._reader.read(_CHUNK_BYTES):
                    # Whoever waits here for room has come all the same.
                    messages = [_message(line) for line in stream.ended_by(piece)]
                    for message in messages:
                        if isinstance(message, types.JSONRPCRequest) and message.method == _CALL:
                            self._known.begin(message.id)
                    for message in messages:
                        await self._room()
                        if isinstance(message, types.JSONRPCNotification) and (
                            message.method == lines.HEARD
                        ):
                            self._known.end()
                        elif message:
                            self._received(message)
                            await to_server.send(SessionMessage(message))
                        else:
                            await sent.send(SessionMessage(_NO_MESSAGE))
            # Also after an error, by which ends who was killed and has left an answer unread.
            await self._answered_all(_LAST_CALLS_S)
            await to_server.aclose()

    async def write(
        self, from_server: MemoryObjectReceiveStream[SessionMessage], ended: Callable[[], None]
    ) -> None:
        """Tell the client what the server says, until one of them has ended; then call `ended`."""
        with suppress(ConnectionError):
            async for answer in from_server:
                if not (self._leaves and _says_only_that_it_ends(answer.message)):
                    self._say(answer.message)
                    await self._writer.drain()
            if self._leaves and not self._calls:
                self._say(types.JSONRPCNotification(jsonrpc="2.0", method=LEFT))
        ended()

    async def leave(self) -> None:
        """Go on until the session has another server; then take no more, and answer what came."""
        with suppress(ConnectionError):
            self._say(types.JSONRPCNotification(jsonrpc="2.0", method=LEAVING))
        with anyio.move_on_after(_REPLACED_WITHIN_S):
            await self._replaced.wait()
        self._reading.cancel()
        await self._answered_all(_LEAVES_WITHIN_S)
        self._leaves = True

    async def _room(self) -> None:
        """Wait until another request may be begun."""
        began, waited = time.monotonic(), False
        while len(self._calls) + len(self._waiting) >= _UNANSWERED_MAX or self._is_quick():
            await self._wait_for_fewer(_TURN_S)
            waited = True
        self._in_a_row = self._in_a_row + 1 if waited else 0
        if self._in_a_row > _FLOOD:
            await asyncio.sleep(time.monotonic() - began)

    def _is_quick(self) -> bool:
        """Tell whether there are requests under way which are likely to be answered soon."""
        began = min(self._calls.values(), default=None)
        return began is not None and time.monotonic() - began < _TURN_S

    async def _answered_all(self, within_s: float) -> None:
        """Wait until no request is under way but those that wait for work, but not for long."""
        give_up = time.monotonic() + within_s
        while self._calls and (left_s := give_up - time.monotonic()) > 0:
            await self._wait_for_fewer(left_s)

    async def _wait_for_fewer(self, within_s: float) -> None:
        self._fewer.clear()
        with anyio.move_on_after(within_s):
            await self._fewer.wait()

    def _received(self, message: types.JSONRPCMessage) -> None:
        match message:
            case types.JSONRPCRequest(params={"name": str(name)}) if name in WAITING:
                self._waiting.add(message.id)
            case types.JSONRPCRequest():
                self._calls[message.id] = time.monotonic()
            case types.JSONRPCNotification(method=lines.READY):
                self._replaced.set()
            case types.JSONRPCNotification(method="notifications/cancelled", params={**params}):
                self._over(params.get("requestId"), answered=False)

    def _say(self, message: types.JSONRPCMessage) -> None:
        if isinstance(message, types.JSONRPCResponse | types.JSONRPCError):
            self._over(message.id, answered=isinstance(message, types.JSONRPCResponse))
        try:
            line = message.model_dump_json(by_alias=True, exclude_unset=True)
        except ValueError:  # there is something in it that is no text: JSON has escapes for that
            line = json.dumps(message.model_dump(by_alias=True, exclude_unset=True))
        self._writer.write(line.encode() + b"\n")

    def _over(self, request: object, *, answered: bool) -> None:
        if isinstance(request, str | int):
            if call := self._known.get(request):
                (call.answered if answered else call.lost)()
            self._calls.pop(request, None)
            self._waiting.discard(request)
            self._fewer.set()


def _message(line: bytes) -> types.JSONRPCMessage | None:
    """Return what a line says; None if it is no message, or was too long, see `Lines`."""
    with suppress(ValueError):
        if line.endswith(b"\n"):
            return types.jsonrpc_message_adapter.validate_json(line, by_name=False)
    return None


def _says_only_that_it_ends(message: types.JSONRPCMessage) -> bool:
    if not isinstance(message, types.JSONRPCError):
        return False
    return message.error.code == types.CONNECTION_CLOSED
