# SPDX-License-Identifier: Apache-2.0
"""`agentbus server backup` and `restore`, as typed: of which bus, and how far it is.

$ agentbus server backup ~/backups/2026-11-27
3 for later: 2 KiB
...
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import time
from contextlib import aclosing
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.cli.output import agreed, beforehand, show
from mcp_agentbus.cli.servers import folder as folders
from mcp_agentbus.config.settings import Settings, load_settings
from mcp_agentbus.core.feather.printer import say, tell
from mcp_agentbus.shared import backup as backups
from mcp_agentbus.shared import restore as restoring

# Of what takes longer a line is printed every so many seconds.
_SAY_EVERY_S: Final = 2.0


def backup(args: argparse.Namespace) -> int:
    """Write all that a bus holds into a folder; return the exit code.

    Raises:
        BadInput, BadSetup: as `folder.whole_bus`, and `back_up`.
        BusUnreachable, Unconfirmed, NotAllowed, Refused: as `back_up`.
    """
    return asyncio.run(_backup(args, load_settings()))


def restore(args: argparse.Namespace) -> int:
    """Have a bus hold what a backup does; return the exit code.

    Raises: as `backup`, and `shared.restore`.
    """
    return asyncio.run(_restore(args, load_settings()))


async def _backup(args: argparse.Namespace, settings: Settings) -> int:
    folder, settings = folders.typed(args.folder, settings), folders.whole_bus(args, settings)
    teller = _Teller(args)
    async with Bus(settings) as bus, aclosing(backups.back_up(bus, folder)) as steps:
        async for step in steps:
            teller.tell(step)
    done = f"The backup is in {folder}. It holds no secret key; who has it can read all else."
    show(args, done, {"folder": str(folder), "streams": teller.streams})
    return 0


async def _restore(args: argparse.Namespace, settings: Settings) -> int:
    kept = backups.find(folders.typed(args.folder, settings))
    settings = folders.whole_bus(args, settings)
    async with Bus(settings) as bus:
        there = await restoring.holds(bus)
    if there and args.replace:
        if not (args.yes or args.json):
            with beforehand():
                tell(
                    f"The bus holds {restoring.told(there)}. All of it goes, and a backup of it is "
                    "taken before. What was sent or answered since "
                    f"{kept.taken_at:%Y-%m-%d %H:%M} UTC is not in the one that is restored."
                )
        if not agreed(args, "Go on?"):
            say("Nothing was done.")
            return 0
    teller, replaced = _Teller(args), list[restoring.Replaced]()
    async with aclosing(restoring.restore(settings, kept, replace=args.replace)) as steps:
        async for step in steps:
            if isinstance(step, restoring.Replaced):
                replaced.append(step)
            else:
                teller.tell(step)
    done = f"The bus holds what it did at {kept.taken_at:%Y-%m-%d %H:%M:%S} UTC."
    for each in replaced:
        if each.told:
            done += f" Sent since then, and ended here: {each.told:,}; their senders are told."
        done += f" {_again(each, args.dir)}"
    data = {
        "restored": str(kept.folder),
        "streams": teller.streams,
        "before": [
            {"backup": str(each.backup), "host": each.host or None, "told": each.told}
            for each in replaced
        ],
    }
    show(args, done, data)
    return 0


def _again(before: restoring.Replaced, server: str | None) -> str:
    """Say how to have back what was there before."""
    command, where = "agentbus server restore --replace", shlex.quote(str(before.backup))
    of = f" --dir {shlex.quote(server)}" if server else ""
    if before.host:
        return (
            f"What was there before is on {before.host}, in {where}: copy that folder here, then "
            f"{command} FOLDER{of}"
        )
    return f"What was there before: {command} {where}{of}"


class _Teller:
    """Prints how far a backup has come, each stream once it is complete, and keeps what it was."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._is_silent = args.json
        self._said_at = time.monotonic()
        self.streams: dict[str, dict[str, int]] = {}

    def tell(self, step: backups.Progress) -> None:
        """Take one step."""
        if step.is_complete:
            self.streams[step.stream] = {"messages": step.messages, "bytes": step.bytes}
        is_due = step.is_complete or time.monotonic() - self._said_at > _SAY_EVERY_S
        if is_due and not self._is_silent:
            self._said_at = time.monotonic()
            say(str(step))
