# SPDX-License-Identifier: Apache-2.0
"""How a command of this process prints, a text or with `--json` the data, and how it asks.

    >>> show(args, "stopped", {"running": False})
    stopped

What the listener prints for a command comes as text, and goes through `tell`, or `say` as data.
"""

from __future__ import annotations

import argparse
import sys
from typing import Final

from mcp_agentbus.core.feather import printing
from mcp_agentbus.core.feather.printing import say, tell
from mcp_agentbus.errors import AgentbusError, BadInput

_YES: Final = frozenset({"y", "yes"})


def show(args: argparse.Namespace, text: str, data: object, *, verbatim: bool = False) -> None:
    """Print the text, or the data if `--json` was typed; `verbatim` what a program reads."""
    if args.json or verbatim:
        from mcp_agentbus.core.framing import spelled

        say(spelled(data) if args.json else text)
    else:
        tell(text)


def agreed(args: argparse.Namespace, question: str) -> bool:
    """Ask whether to go on, unless `--yes` was typed.

    Raises:
        BadInput: nobody is there to be asked.
    """
    if args.yes:
        return True
    if args.json or not (sys.stdin and sys.stdin.isatty()):
        raise BadInput("Nobody is there to be asked. Nothing was done.", hint="Give --yes.")
    try:
        answer = input(f"{question} [y/N] ")
    except EOFError:  # Ctrl-D
        return False
    return answer.strip().lower() in _YES


def complain(
    error: AgentbusError, *, as_json: bool = False, command: str = "", **known: str
) -> int:
    """Print an error of a command, and what to do next; return the exit code.

    `known` is what stands beside it for a program.
    """
    said = told(error, as_json=as_json, command=command, **known)
    print(said) if as_json else printing.complain(said)
    return error.exit_code


def told(error: AgentbusError, *, as_json: bool, command: str, **known: str) -> str:
    """Return an error as `complain` prints it: data for standard output, or a text."""
    from mcp_agentbus.core.framing import spelled
    from mcp_agentbus.tools.answers.readers import SHELL

    about = SHELL.error(error, command)
    if as_json:
        return spelled({**known, "error": about})
    return f"agentbus: {about['message']}\nHint: {about['hint']}"
