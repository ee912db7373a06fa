# SPDX-License-Identifier: Apache-2.0
"""How `agentbus agent` is typed, and what it has below it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mcp_agentbus.cli.arguments import WithProgram, count, whole_seconds
from mcp_agentbus.cli.grammar.command import WEEK_S, completed, offered
from mcp_agentbus.core import hosts

if TYPE_CHECKING:
    from mcp_agentbus.cli.grammar.command import Commands


def add(commands: Commands) -> None:
    """Declare it."""
    about = "say which agents of this machine may be woken, and how"
    agent = commands.add_parser("agent", help=about, description=f"{about.capitalize()}.")
    actions = agent.add_subparsers(
        dest="action", required=True, metavar="ACTION", parser_class=WithProgram
    )
    add = actions.add_parser(
        "add",
        help="add an agent to config.toml and to the bus",
        epilog="With --host command, write the program and its arguments after --. "
        "The notice comes on its standard input.",
    )
    _add_agent_keys(add)
    remove = actions.add_parser("remove", help="take an agent out of config.toml")
    completed(remove.add_argument("id", metavar="ID"))
    listed = actions.add_parser("list", help="list the agents in config.toml")
    wake = actions.add_parser(
        "wake",
        help="look again at an agent that is held",
        description="Forget an agent's failed wakes and look at it now. "
        "Its limits and quiet hours stay.",
    )
    completed(wake.add_argument("id", metavar="ID"))
    wakes = actions.add_parser(
        "wakes",
        help="list the last wakes of an agent",
        description="List the last wakes of an agent, how each ended, and what it printed.",
    )
    completed(wakes.add_argument("id", metavar="ID"))
    wakes.add_argument("--limit", type=count(1000), default=5, metavar="N", help="default: 5")
    rename = actions.add_parser(
        "rename",
        help="give an agent another name",
        description="Give an agent another name, with its folder, its rules and what waits for it.",
    )
    completed(rename.add_argument("old", metavar="OLD"))
    rename.needs_each_word = True
    rename.add_argument("new", metavar="NEW")
    forget = actions.add_parser(
        "forget",
        help="take an agent off the bus, if nothing waits for it",
        description="Take an agent off the bus and out of config.toml, if nothing waits for it.",
    )
    completed(forget.add_argument("id", metavar="ID"))
    forget.add_argument("--yes", action="store_true", help="do not ask")
    allow = actions.add_parser(
        "allow",
        help="let the .agentbus.toml of a folder count",
        description="Let the .agentbus.toml of a folder count as it is now: "
        "the name that it gives, and its roles.",
    )
    allow.add_argument("folder", metavar="FOLDER")
    for action in (remove, listed, wake, wakes, rename, forget, allow):
        action.add_argument("--json", action="store_true", help="print JSON")


def _add_agent_keys(add: argparse.ArgumentParser) -> None:
    completed(add.add_argument("id", metavar="ID"))
    known = f"{', '.join(hosts.WOKEN[:-1])} or {hosts.WOKEN[-1]}"
    offered(add.add_argument("--host", metavar="H", help=known), hosts.WOKEN)
    add.add_argument("--dir", metavar="D", help="where it is started (default: here)")
    profile = add.add_argument("--wake", metavar="P", help="hold, answer or work")
    offered(profile, ("hold", "answer", "work"))
    waker = add.add_argument(
        "--wake-from", action="append", metavar="X",
        help="a sender that may wake it besides your own agents, or *; may be repeated",
    )  # fmt: skip
    completed(waker)
    sender = add.add_argument(
        "--accept-from", action="append", metavar="X",
        help="a sender whose tasks it takes: an agent, role:NAME or * (default); may be repeated",
    )  # fmt: skip
    completed(sender)
    add.add_argument("--quiet-hours", metavar="R", help="no wakes then: 22:00-07:00")
    add.add_argument("--description", metavar="T", help="one line for the roster")
    add.add_argument("--role", action="append", metavar="R", help="a shared inbox; may be repeated")
    add.add_argument("--permission-mode", metavar="M", help="with work: acceptEdits; cursor: force")
    add.add_argument(
        "--allow", action="append", metavar="R",
        help="claude-code, with work: an allow rule; may be repeated",
    )  # fmt: skip
    add.add_argument(
        "--resume",
        action="store_true",
        help="claude-code, with work: go on with its last conversation",
    )
    add.add_argument("--chat", metavar="C", help="cursor: the chat that is continued")
    add.add_argument(
        "--token-file",
        metavar="F",
        help="openclaw: a 0600 file with hooks.token (default: what install openclaw wrote)",
    )
    add.add_argument(
        "--gateway-url",
        metavar="U",
        help="openclaw: its gateway (default: on the port in openclaw.json)",
    )
    add.add_argument(
        "--time-limit", type=whole_seconds(1, WEEK_S), metavar="S",
        help="a wake is ended after so many seconds, or such as 20m",
    )  # fmt: skip
    add.add_argument(
        "--replace",
        action="store_true",
        help="write it anew; what is not given stays, its host and folder among it",
    )
    add.add_argument("--json", action="store_true", help="print JSON")
