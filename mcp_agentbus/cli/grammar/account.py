# SPDX-License-Identifier: Apache-2.0
"""What is typed to be an account of a shared server, and to be none any more."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mcp_agentbus.cli.grammar.command import command

if TYPE_CHECKING:
    from mcp_agentbus.cli.grammar.command import Commands


def add(commands: Commands) -> None:
    """Declare both."""
    join = command(
        commands, "join", "use a shared server, by the line that its owner gave you", agent=False
    )
    # Taken to be refused in words of its own.
    join.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    join.epilog = (
        "The line of `agentbus server invite` is a secret: it is asked for, and not shown, or read "
        "from standard input. The same line again goes on where it ended early."
    )
    leave = command(commands, "leave", "be no account of the shared server any more", agent=False)
    leave.add_argument(
        "--give-back", action="store_true",
        help="end what waits for your agents there as rejected, so that its senders know",
    )  # fmt: skip
    leave.add_argument("--yes", action="store_true", help="do not ask")
