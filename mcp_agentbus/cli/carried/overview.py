# SPDX-License-Identifier: Apache-2.0
"""`agentbus status`, `why` and `policy explain`, as typed, by whoever carries them out.

$ agentbus why 9d0c2f
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.cli.output import show
from mcp_agentbus.config.settings import Settings, load_settings
from mcp_agentbus.core.feather import printer
from mcp_agentbus.overview import command
from mcp_agentbus.overview.command import Told

# It has its own lines, as wide as the terminal.
_VERBATIM: Final = "status"


def run(args: argparse.Namespace) -> int:
    """Do what was typed; return the exit code.

    Raises: as `told`.
    """
    terminal = printer.columns(), printer.rows(), printer.is_styled()
    text, data = asyncio.run(told(args, load_settings(), terminal))
    show(args, text, data, verbatim=is_verbatim(args))
    return 0


async def told(
    args: argparse.Namespace, settings: Settings, terminal: Sequence[int], bus: Bus | None = None
) -> Told:
    """Return what is asked, as a text and as data.

    Raises: as the function of `command` that has the command's name.
    """
    if args.command == _VERBATIM:
        return await command.status(settings, terminal, bus)
    if args.command == "why":
        return await command.why(settings, args.task_id, bus)
    return await command.policy(settings, args.sender, args.to, bus)


def is_verbatim(args: argparse.Namespace) -> bool:
    """Tell whether what is printed is neither folded nor told apart from data."""
    return bool(args.json) or args.command == _VERBATIM
