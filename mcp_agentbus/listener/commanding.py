# SPDX-License-Identifier: Apache-2.0
"""Commands that the listener carries out for `remote`, on its own connection to the bus.

    await Commanding(bus).run(request, reader, writer)

A command ends with its process: who presses Ctrl-C waits for nothing any more.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config import settings as config
from mcp_agentbus.errors import AgentbusError, BadInput
from mcp_agentbus.relay import command as remote
from mcp_agentbus.relay import local_socket as local
from mcp_agentbus.tools import commands
from mcp_agentbus.version import __version__

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
        if given.get("command") not in remote.COMMANDS:
            raise BadInput("That is no command for a listener.")
        theirs = config.neighbour(self._bus.settings, request.get("environ"))
        # Whoever has heard nothing for a while has gone, or has done it without a listener: what
        # was asked is done once that process says that it still waits for it.
        writer.write(local.line({"taken": True}))
        await writer.drain()
        if not (await reader.readline()).endswith(b"\n"):
            return

        def out(text: str) -> None:
            writer.write(local.line({"out": text}))

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
            writer.write(local.line(_end(running)))
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
