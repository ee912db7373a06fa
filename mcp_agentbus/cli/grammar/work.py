# SPDX-License-Identifier: Apache-2.0
"""The commands that do an agent's tasks: work, worker."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from mcp_agentbus.cli.arguments import count, duration
from mcp_agentbus.cli.grammar.command import WEEK_S, command

if TYPE_CHECKING:
    from mcp_agentbus.cli.grammar.command import Commands

_JOBS_MAX: Final = 64
# In seconds.
_TIME_LIMIT_S: Final = 1800


def add(commands: Commands) -> None:
    """Declare them."""
    _add_work(commands)
    _add_worker(commands)


def _add_work(commands: Commands) -> None:
    work = command(commands, "work", "do an agent's tasks by a program until told to end")
    work.takes_program, work.takes_words = True, False
    work.usage = "agentbus work [options] -- PROGRAM [ARGUMENT ...]"
    work.epilog = (
        "The program is run once for each task, which it reads on standard input, with rules and "
        "in a frame; what it prints is the result, and its exit code says whether it is done."
    )
    work.add_argument(
        "--jobs", type=count(_JOBS_MAX), default=1, metavar="N", help="so many at once (default: 1)"
    )
    work.add_argument(
        "--time-limit",
        type=duration(1, WEEK_S),
        default=_TIME_LIMIT_S,
        metavar="S",
        help="the program is ended after so many seconds, or such as 2h (default: 30m)",
    )
    work.add_argument(
        "--instruction", default="", metavar="TEXT", help="what you tell it besides, for each task"
    )
    act = work.add_mutually_exclusive_group()
    act.add_argument(
        "--once",
        action="store_true",
        help="do one task that waits, if any, and end; exit code 6 if not completed",
    )
    _add_service(act)


def _add_service(act: argparse._MutuallyExclusiveGroup) -> None:
    act.add_argument(
        "--install",
        nargs="?",
        const="",
        choices=("", "systemd", "launchd", "supervisor"),
        metavar="BY",
        help="have systemd or launchd keep it; with supervisor, print what to give that",
    )
    act.add_argument("--uninstall", action="store_true", help="undo --install")


def _add_worker(commands: Commands) -> None:
    about = "do an agent's tasks as a TOML file says"
    worker = commands.add_parser("worker", help=about, description=f"D{about[1:]}.")
    actions = worker.add_subparsers(dest="action", required=True, metavar="ACTION")
    about = "run a worker that a TOML file describes, until it is told to end"
    run = actions.add_parser("run", help=about, description=f"{about[0].upper()}{about[1:]}.")
    run.add_argument(
        "--config",
        metavar="FILE",
        help="default: ./agentbus.toml, ~/.agentbus/config.toml or /etc/agentbus/agentbus.toml",
    )
    run.add_argument("--json", action="store_true", help="print JSON")
    _add_service(run.add_mutually_exclusive_group())
