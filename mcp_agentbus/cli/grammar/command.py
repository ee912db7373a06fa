# SPDX-License-Identifier: Apache-2.0
"""What commands have in common when they are typed.

watch = command(commands, "watch", "wait for a task or a result")
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from mcp_agentbus.cli.arguments import Parser, count, moment

if TYPE_CHECKING:
    # argparse has no public name for it.
    Commands = argparse._SubParsersAction[Parser]  # noqa: SLF001

# In seconds: how long a call may wait, and how far a deadline may lie ahead.
WATCH_MAX_S: Final = 3600
#: How long a wait is for which no time was given.
WATCH_S: Final = 45
WEEK_S: Final = 7 * 24 * 3600
_TASK: Final = "its id, or the first 6 characters and more"


class _Unasked:
    """Takes whatever is declared of a command, and keeps nothing of it."""

    def __getattr__(self, _: str) -> _Unasked:
        return self

    def __call__(self, *_: object, **__: object) -> _Unasked:
        return self


def asked_for(only: str) -> type[Commands]:
    """Return what commands are declared to, and keeps `only` one of them; all without it."""

    class Asked(argparse._SubParsersAction):  # type: ignore[type-arg]  # noqa: SLF001  # no public name
        def add_parser(self, name: str, **about: Any) -> Any:
            return super().add_parser(name, **about) if only in {"", name} else _Unasked()

    return Asked


def command(commands: Commands, name: str, help_: str, *, agent: bool = True) -> Parser:
    """Declare a command; with `agent` it takes who types it."""
    command = commands.add_parser(name, help=help_, description=f"{help_[0].upper()}{help_[1:]}.")
    if agent:
        who = command.add_argument(
            "--agent", metavar="ID", help="who you are (default: by environment and folder)"
        )
        completed(who)
    command.add_argument("--json", action="store_true", help="print JSON")
    return command


def completed(argument: argparse.Action) -> None:
    """Have the tab key offer agents for an argument."""

    def agents(**asked: Any) -> list[str]:
        from mcp_agentbus.cli import completion

        return completion.agents(**asked)

    argument.completer = agents  # type: ignore[attr-defined]  # argcomplete looks for it


def add_task(command: Parser) -> None:
    """Take a task by its id."""
    task_offered(command.add_argument("task_id", metavar="TASK", help=_TASK))


def task_offered(argument: argparse.Action) -> None:
    """Have the tab key offer tasks for an argument."""

    def tasks(**asked: Any) -> list[str]:
        from mcp_agentbus.cli import completion

        return completion.tasks(**asked)

    argument.completer = tasks  # type: ignore[attr-defined]


def offered(argument: argparse.Action, words: Sequence[str]) -> None:
    """Have the tab key offer these words for an argument, which takes others as well."""

    def known(**_: object) -> list[str]:
        return list(words)

    argument.completer = known  # type: ignore[attr-defined]


def add_words(command: Parser, nargs: str, about: str) -> None:
    """Take words that are looked for."""
    command.add_argument("words", nargs=nargs, metavar="WORDS", help=about)


def add_since(command: Parser) -> None:
    """Take a time from which on."""
    command.add_argument(
        "--since", type=moment, metavar="WHEN",
        help="90s, 15m, 2h, 3d ago, or a time such as 2026-11-20T18:00Z",
    )  # fmt: skip


def add_page(command: Parser) -> None:
    """Take which part of a list."""
    add_since(command)
    command.add_argument("--limit", type=count(100), default=20, metavar="N", help="1 to 100")
    command.add_argument("--cursor", help="from the answer before")


def add_body(command: argparse.ArgumentParser, what: str, *, optional: bool = True) -> None:
    """Take a text from a file; without an argument from standard input, if it must be given."""
    piped = (
        ", or from stdin if it is -" if optional else " (default: from stdin, if it is piped in)"
    )
    command.add_argument("--body-file", metavar="FILE", help=f"read the {what} from FILE{piped}")
