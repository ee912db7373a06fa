# SPDX-License-Identifier: Apache-2.0
"""A session of the self-test as the listener knows it: joined at once, and told of its tasks.

    >>> async with joined(settings, session, can_nudge=True) as member:
    ...     await member.notice()
    'the listener decided to wake the worker and told its session'

It says what `agentbus serve` says as it joins, and joins once: where the listener ends, so does it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from mcp_agentbus.config.settings import Settings
from mcp_agentbus.errors import AgentbusError, NoListener
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.relay import local_socket, member, starter
from mcp_agentbus.relay.member import Me

#: How often, in seconds, it is looked whether something has come about.
LOOK_AGAIN_S: Final = 0.25


@dataclass(frozen=True)
class Member:
    """A session's connection to the listener."""

    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter

    async def notice(self) -> str:
        """Wait for a notice, tell the listener that it was shown, and say so.

        Raises:
            NoListener: it has ended.
        """
        try:
            while True:
                message = local_socket.message(await self._reader.readline())
                if message.get("op") == "nudge":
                    break
            self._writer.write(local_socket.line(member.nudged(message)))
            await self._writer.drain()
        except (OSError, ValueError):
            raise NoListener("The listener has ended.") from None
        return "the listener decided to wake the worker and told its session"


async def listener(settings: Settings) -> str:
    """See that a listener runs, starting one where a session would; say which.

    Raises:
        NoListener: none runs, and none is to be started.
    """
    how = "runs"
    while True:
        try:
            status = await asyncio.to_thread(local_socket.ask, settings, {"op": "status"})
        except NoListener:
            if how == "runs":
                if not await asyncio.to_thread(starter.start_listener, settings):
                    raise
                how = "was started, as by a session"
        else:
            # One that has just been started has not reached the bus yet, or it has no bus.
            if how == "runs" or status.get("bus") == "ok":
                return how
        await asyncio.sleep(LOOK_AGAIN_S)


@asynccontextmanager
async def joined(
    settings: Settings, session: Session, *, can_nudge: bool
) -> AsyncGenerator[Member, None]:
    """Join a session to the listener, which it leaves at the end.

    Raises:
        NoListener: there is none.
        AgentbusError, OSError, ValueError, TimeoutError: it did not take the session.
    """
    try:
        connection = await asyncio.to_thread(local_socket.connect, settings)
    except OSError:
        raise NoListener from None
    connection.setblocking(False)
    reader, writer = await asyncio.open_unix_connection(sock=connection)
    try:
        me = Me(session.me.id, session.me.host, session.id, can_nudge=can_nudge)
        writer.write(local_socket.line(member.joins(me)))
        async with asyncio.timeout(local_socket.ASK_TIMEOUT_S):
            answer = local_socket.message(await reader.readline())
        if "joined" not in answer:
            raise AgentbusError(str(answer.get("error", "it did not answer")))
        yield Member(reader, writer)
    finally:
        writer.close()
