# SPDX-License-Identifier: Apache-2.0
"""A command that another process has sent as it was typed, and how one speaks with that process.

    order = Order(...)
    code = await commands.start(order)     # which prints by order.say

What can be typed, and who does it, is known below this room only; it is given as `Commands`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.listener.endpoint import Connection
from mcp_agentbus.relay.carried import words
from mcp_agentbus.relay.carried.words import Typed
from mcp_agentbus.store.outbox.outbox import Outbox
from mcp_agentbus.store.own_name import Naming

# It is sent at once.
_COMES_WITHIN_S: Final = 10.0


@dataclass(frozen=True)
class Order:
    """A command that was typed elsewhere, and the way there."""

    args: argparse.Namespace
    typed: Typed
    #: How whoever typed it comes by its name, and that one's settings.
    naming: Naming
    settings: Settings
    #: The listener's connection to the bus, and what it keeps while that is out of reach.
    bus: Bus
    outbox: Outbox | None
    connection: Connection
    #: The text that was read for it there; empty if none was asked for.
    text: str = ""
    #: What the process has answered.
    heard: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)

    def say(self, kind: str, text: str, changed: Mapping[str, Any] | None = None) -> None:
        """Have a text printed, in a way of `words`; `changed` as in `typed_command.Command.out`."""
        said = [
            words.frame("changed", f"{name} {json.dumps(value)}")
            for name, value in (changed or {}).items()
        ]
        self.connection.writer.write(b"".join([*said, words.frame(kind, text)]))

    async def reached(self) -> None:
        """Wait until what was said has been printed."""
        self.connection.writer.write(words.frame("reached"))
        await self.heard.get()


class Commands(Protocol):
    """The command line, as far as a listener does it; `cli.carried` has one."""

    def load(self) -> None:
        """Import what takes long; may be called in a thread."""

    def read(self, typed: Sequence[str]) -> argparse.Namespace | None:
        """Return what was typed as it is parsed; None: it is left to its own process."""

    def asking(self, args: argparse.Namespace) -> str:
        """Return how the text is asked for that its own process is to read; empty if there is none.

        See `relay.carried.body`.
        """

    def start(self, order: Order) -> Coroutine[Any, Any, int]:
        """Return the work of a command, which ends with the exit code."""

    def complain(self, order: Order, error: AgentbusError) -> int:
        """Have an error printed; return the exit code."""


async def received(connection: Connection) -> Typed:
    """Return what was typed, which comes behind the first line.

    Raises:
        ValueError: something else comes, or not all of it.
        TimeoutError: not in time.
    """
    size = connection.request.get("size")
    if not isinstance(size, int) or not 0 <= size <= words.MAX_BYTES:
        raise ValueError("That is no command.")
    async with asyncio.timeout(_COMES_WITHIN_S):
        return Typed.unpack(await _exactly(connection.reader, size))


async def told_to_go(connection: Connection) -> str | None:
    """Wait until the process says that it waits for this, and return the text that it has read.

    None: it has gone, or has done it without a listener.

    Raises:
        ValueError: something else comes, or not all of it.
    """
    kind, _, size = (await connection.reader.readline()).decode().partition(" ")
    if kind != "go" or not size.endswith("\n") or not 0 <= int(size) <= words.MAX_BYTES:
        return None
    return words.decoded(await _exactly(connection.reader, int(size)))


async def hear(order: Order) -> None:
    """Hear what the process says, line by line, until it says no more."""
    with suppress(ConnectionError):  # what it was told last, it has not read
        while (line := await order.connection.reader.readline()).endswith(b"\n"):
            order.heard.put_nowait(line)


async def _exactly(reader: asyncio.StreamReader, size: int) -> bytes:
    try:
        return await reader.readexactly(size)
    except asyncio.IncompleteReadError as error:
        raise ValueError("Not all of it has come.") from error
