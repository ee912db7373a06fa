# SPDX-License-Identifier: Apache-2.0
"""The commands that a listener does for the processes in which they were typed.

    carried = Carried(parser)
    args = carried.read(["tasks", "--open"])    # None: its own process does it
    code = await carried.start(order)

Each is parsed by the parser, done by the function and worded as in its own process. That is left to
say what is wrong with a line, to read what is piped in and to fold what is printed: it alone has
the pipes and the terminal.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mcp_agentbus.cli import tasks
from mcp_agentbus.cli.arguments import Parser, QuietParser, Untold
from mcp_agentbus.cli.output import told
from mcp_agentbus.core.feather.printer import EXIT_CODE
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.relay.carried.command import COMMANDS

if TYPE_CHECKING:
    from mcp_agentbus.listener.carried.order import Order

_OVERVIEW = frozenset({"status", "why", "policy"})


class Carried:
    """The command line, as far as a listener does it; what it takes is imported by `load`.

    Args:
        parser: makes the parser of one command; see `cli.parser`.
    """

    def __init__(self, parser: Callable[..., Parser]) -> None:
        self._reader = lru_cache(lambda command: parser(QuietParser, only=command))

    def load(self) -> None:
        """Import what takes long; may be called in a thread."""
        import_module("mcp_agentbus.tools.commands")

    def read(self, typed: Sequence[str]) -> argparse.Namespace | None:
        """Return what was typed as it is parsed; None: it is left to its own process."""
        if not typed or typed[0] not in COMMANDS:
            return None
        try:
            args = self._reader(typed[0]).parse_args(typed)
        except Untold:
            return None
        has_two = tasks.has_text(args) and None not in (getattr(args, "body", None), args.body_file)
        # It says itself that a text is one too many, and shows a monitor's notices.
        return None if has_two or getattr(args, "notices", False) else args

    def asking(self, args: argparse.Namespace) -> str:
        """Return how the text is asked for that its own process is to read; empty if none is."""
        return tasks.asking(args)

    def start(self, order: Order) -> Coroutine[Any, Any, int]:
        """Return the work of a command, which ends with the exit code.

        Raises (when it is awaited):
            AgentbusError: it was refused, or the bus was not there.
        """
        return _overview(order) if order.args.command in _OVERVIEW else _task(order)

    def complain(self, order: Order, error: AgentbusError) -> int:
        """Have an error printed; return the exit code."""
        args = order.args
        said = told(error, as_json=args.json, command=args.command)
        kind = "say" if args.json else "complain"
        order.say(kind, said, {EXIT_CODE: error.exit_code})
        return error.exit_code


async def _task(order: Order) -> int:
    from mcp_agentbus.tools import commands
    from mcp_agentbus.tools.typed_command import Command

    args = order.args
    if tasks.asking(args):
        args.body = order.text
    tasks.check(args, order.typed.request_id)
    kind = "say" if tasks.is_verbatim(args) else "tell"

    def out(text: str, changed: Mapping[str, Any]) -> None:
        order.say(kind, text, changed)

    def aside(text: str, changed: Mapping[str, Any]) -> None:
        order.say("complain", text, changed)

    pid = order.connection.pid
    call = Command(args, order.naming, out, order.bus, order.reached, order.outbox, pid, aside)
    return await commands.start(call)


async def _overview(order: Order) -> int:
    from mcp_agentbus.core.framing import spelled

    # A room more than most commands need; nobody else waits meanwhile.
    overview = await asyncio.to_thread(import_module, "mcp_agentbus.cli.carried.overview")
    args = order.args
    text, data = await overview.told(args, order.settings, order.typed.terminal, order.bus)
    said = spelled(data) if args.json else text
    order.say("say" if overview.is_verbatim(args) else "tell", said, {EXIT_CODE: 0})
    return 0
