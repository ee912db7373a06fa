# SPDX-License-Identifier: Apache-2.0
"""What can be typed: every command with its arguments and its help, declared in one place.

    >>> parser().parse_args(["watch", "--timeout", "5"]).timeout
    5.0

Who does a command is in `main.COMMANDS`. Every command is declared before any is done, so this
imports next to nothing, and spells the words of the bus itself.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mcp_agentbus.cli.arguments import Parser, duration
from mcp_agentbus.cli.grammar import account, agent, history, patterns, server, tasks, work
from mcp_agentbus.cli.grammar.command import WATCH_MAX_S, asked_for, command, completed, offered
from mcp_agentbus.core import hosts
from mcp_agentbus.version import __version__

if TYPE_CHECKING:
    from mcp_agentbus.cli.grammar.command import Commands


def parser(kind: type[Parser] = Parser, *, only: str = "") -> Parser:
    """Return the parser of all commands, or of one of them: to make all takes argparse 20 ms."""
    top = kind(
        prog="agentbus",
        description="Durable, honest hand-off between coding agents.",
        epilog="Exit codes: 0 done, 1 refused, 2 wrong usage, 3 no bus server, 4 timed out, "
        "5 not known whether it was done, 6 a task that was waited for was not completed, "
        "7 done and standard output cannot be written.",
    )
    said = f"agentbus {__version__}"
    top.add_argument("--version", action="version", version=said)
    # As other programs have it; not told, as nobody need know.
    top.add_argument("-V", "-v", action="version", version=said, help=argparse.SUPPRESS)
    commands = top.add_subparsers(
        dest="command", required=True, metavar="COMMAND", action=asked_for(only)
    )
    tasks.add(commands)
    history.add(commands)
    server.add(commands)
    account.add(commands)
    serve = command(commands, "serve", "speak MCP on stdin and stdout, for one session of a host")
    serve.add_argument(
        "--watch-max", type=duration(1, WATCH_MAX_S), default=WATCH_MAX_S, metavar="S",
        help="the most that watch_inbox waits, for a client that ends longer calls (default: 1h)",
    )  # fmt: skip
    serve.add_argument(
        "--only", default="", metavar="TASK",
        help="give the session this task alone, by its whole id, and show it nothing else",
    )  # fmt: skip
    _add_listen(commands)
    work.add(commands)
    patterns.add(commands)
    _add_human(commands)
    agent.add(commands)
    _add_install_commands(commands)
    _add_doctor(commands)
    _add_hook(commands)
    _add_completion(commands)
    _add_demo(commands)
    return top


def _add_listen(commands: Commands) -> None:
    listen = command(commands, "listen", "wake this machine's agents for urgent tasks", agent=False)
    act = listen.add_mutually_exclusive_group()
    act.add_argument("--status", action="store_true", help="show what the running one does")
    act.add_argument("--stop", action="store_true", help="end the running one")
    act.add_argument("--replace", action="store_true", help="end the running one and take over")
    act.add_argument("--install", action="store_true", help="have systemd or launchd keep it")
    act.add_argument("--uninstall", action="store_true", help="undo --install")
    act.add_argument("--while-needed", action="store_true", help=argparse.SUPPRESS)


def _add_human(commands: Commands) -> None:
    human = command(
        commands, "human", "show how you are told that something needs a person", agent=False
    )
    human.add_argument("--test", action="store_true", help="tell you something now")


def _add_install_commands(commands: Commands) -> None:
    setup = commands.add_parser(
        "setup",
        help="connect every host that is here, and keep a listener running",
        description="Start the server, connect the hosts that are found here, have systemd or "
        "launchd keep a listener, and look whether all of it works.",
    )
    setup.add_argument(
        "--host", action="append", choices=sorted(hosts.CONNECTED), help="only this one"
    )
    setup.add_argument("--no-listener", action="store_true", help="leave the listener to you")
    install = commands.add_parser("install", help="connect a host, or print how any is connected")
    known = ", ".join(hosts.CONNECTED)
    offered(install.add_argument("host", nargs="*", metavar="HOST", help=known), hosts.CONNECTED)
    install.add_argument(
        "--print", action="store_true", dest="print_", help="print the entry for any MCP host"
    )
    who = install.add_argument(
        "--agent",
        metavar="ID",
        help="the agent that the host's sessions are (default: as its entry says, else openclaw "
        "for OpenClaw, and by the folder of each session for the others)",
    )
    completed(who)
    install.add_argument(
        "--no-plugin",
        action="store_true",
        help=f"{', '.join(hosts.WITH_PLUGIN)}: only the server's entry, "
        "without skill, hooks and monitor",
    )
    uninstall = commands.add_parser("uninstall", help="take agentbus out of a host again")
    offered(uninstall.add_argument("host", nargs="+", metavar="HOST", help=known), hosts.CONNECTED)
    uninstall.add_argument("--yes", action="store_true", help="ask nothing, as without it")
    for each in (setup, install):
        each.add_argument(
            "--allow-tools",
            metavar="LIST",
            help=f"{', '.join(hosts.WITH_PLUGIN)}: the tools that run without asking you each "
            "time, with commas, or all or none (asked for once)",
        )
        each.add_argument(
            "--yes",
            action="store_true",
            help="ask nothing: go on, and let all tools but send_task run without asking",
        )
    for each in (setup, install, uninstall):
        each.add_argument("--dry-run", action="store_true", help="only say what would be done")
        each.add_argument("--json", action="store_true", help="print JSON")


def _add_doctor(commands: Commands) -> None:
    doctor = command(
        commands, "doctor", "look whether all works here, and say how to mend it", agent=False
    )
    act = doctor.add_mutually_exclusive_group()
    act.add_argument(
        "--fix",
        action="store_true",
        help="mend what is agentbus's own: files, server, listener, what is stored",
    )
    act.add_argument(
        "--self-test", action="store_true", help="send a task through the bus and back"
    )
    doctor.add_argument("--dry-run", action="store_true", help="with --fix: only say what")
    about = "with --self-test: really start this agent"
    completed(doctor.add_argument("--wake", metavar="AGENT", help=about))
    doctor.add_argument(
        "--dir", metavar="SERVER", help="as the owner of the shared server in this folder"
    )


def _add_hook(commands: Commands) -> None:
    hook = commands.add_parser("hook", help="tell a host's session of new mail; hosts call it")
    hook.add_argument("host", choices=hosts.HOOKED)
    hook.add_argument("event", metavar="EVENT")


def _add_completion(commands: Commands) -> None:
    completion = command(
        commands, "completion", "print what makes a shell's tab key know agentbus", agent=False
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))


def _add_demo(commands: Commands) -> None:
    demo = command(commands, "demo", "show a task's way from one agent to another", agent=False)
    demo.add_argument("--wake", action="store_true", help="to an agent that has no session")
    demo.add_argument("folder", nargs="?", default=".", help="what the task is about")
