# SPDX-License-Identifier: Apache-2.0
"""The commands that need no task, or end many: events, clear."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mcp_agentbus.cli.arguments import count, duration
from mcp_agentbus.cli.grammar.command import WEEK_S, add_body, command

if TYPE_CHECKING:
    from mcp_agentbus.cli.grammar.command import Commands

_WORDS: Final = "words with dots between them, such as build.done"


def add(commands: Commands) -> None:
    """Declare them."""
    about = "say or hear what may be lost: at most once, and nothing of it is stored"
    events = commands.add_parser("events", help=about, description=f"{about.capitalize()}.")
    actions = events.add_subparsers(dest="action", required=True, metavar="ACTION")
    publish = command(actions, "publish", "have whoever listens now hear an event")
    publish.needs_each_word = True
    publish.add_argument("topic", help=_WORDS)
    publish.add_argument("body", nargs="?", help="a text of at most 64 KiB")
    add_body(publish, "body")
    subscribe = command(actions, "subscribe", "print each event that is heard from now on")
    subscribe.add_argument(
        "topic", nargs="?", default=">",
        help="* in it is any one word, and > at its end all that follow (default: everything)",
    )  # fmt: skip
    subscribe.add_argument(
        "--group", default="", metavar="NAME", help="of all that listen so, one hears each event"
    )
    subscribe.add_argument("--limit", type=count(1_000_000), metavar="N", help="end after N events")
    subscribe.add_argument(
        "--timeout", type=duration(0, WEEK_S), metavar="S",
        help="end after so many seconds, or such as 5m; exit code 4 if something is missing then",
    )  # fmt: skip
    clear = command(
        commands, "clear", "reject all that waits for an agent, and withdraw what it has sent"
    )
    clear.needs_each_word = True
    clear.epilog = (
        "It says what it would do, and asks. Each task has an end that its sender is told. "
        "Results and words that nobody has read stay, what a live session holds, the tasks of "
        "roles, and what is kept on this machine until the bus takes it."
    )
    clear.add_argument("--yes", action="store_true", help="do not ask")
