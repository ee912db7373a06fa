# SPDX-License-Identifier: Apache-2.0
"""`agentbus server gate`: the gate of a shared server, in the foreground, until it is told to end.

$ agentbus server gate
the gate of /home/me/.local/share/agentbus/shared answers
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from mcp_agentbus.cli.output import show
from mcp_agentbus.cli.servers.folder import of_owner
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.core import processes
from mcp_agentbus.core.aio import in_background, part
from mcp_agentbus.gate.gate import Gate
from mcp_agentbus.shared.accounts import admin
from mcp_agentbus.shared.accounts.doorkeeper import keep_door


def gate(args: argparse.Namespace) -> int:
    """Run it until SIGTERM or SIGINT; return the exit code.

    Raises:
        BadInput, BadSetup: there is no shared server here, or its folder is damaged.
    """
    return asyncio.run(_run(of_owner(args, load_settings()), args))


async def _run(folder: Path, args: argparse.Namespace) -> int:
    stop, running = asyncio.Event(), Gate(admin.settings(folder))
    admin.keys(folder)
    for number in processes.ending():
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    door = in_background(keep_door(folder), "a gate's door")
    door.add_done_callback(lambda _: stop.set())  # what starts it anew is to see that
    told = part(_tell(running, folder, args))
    try:
        await running.run(stop)
    finally:
        for task in (door, told):
            task.cancel()
        await asyncio.wait([door, told])
    if not door.cancelled():
        await door  # raises why it has ended
    return 0


async def _tell(running: Gate, folder: Path, args: argparse.Namespace) -> None:
    await running.answers.wait()
    said = f"the gate of {folder} answers"
    show(args, said, {"folder": str(folder), "answers": True}, verbatim=not args.json)
