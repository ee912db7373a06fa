# SPDX-License-Identifier: Apache-2.0
"""How a command of this process prints, a text or with `--json` the data, and how it asks.

    >>> show(args, "stopped", {"running": False})
    stopped

What the listener prints for a command comes as text, and goes through `tell`, or `say` as data.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final

from mcp_agentbus.core.feather import printer
from mcp_agentbus.core.feather.printer import check_seen, flush, say, tell, to_nowhere
from mcp_agentbus.errors import AgentbusError, BadInput

_YES: Final = frozenset({"y", "yes"})


def show(args: argparse.Namespace, text: str, data: object, *, verbatim: bool = False) -> None:
    """Print the text, or the data if `--json` was typed; `verbatim` what a program reads."""
    if args.json or verbatim:
        from mcp_agentbus.core.framing import spelled

        say(spelled(data) if args.json else text)
    else:
        tell(text)


@contextmanager
def beforehand() -> Generator[None]:
    """Have a command be refused that cannot say what it is about to do: none of it is done yet.

    Raises:
        BadInput: standard output does not take what is printed here.
    """
    try:
        yield
    except OSError as error:
        if not (isinstance(error, BrokenPipeError) or error.filename == printer.STDOUT):
            raise
        raise BadInput(
            f"Standard output cannot be written: {error.strerror or 'it is closed'}. "
            "Nothing was done.",
            hint="Let it go where it can be; where nobody is to be asked, give --yes.",
        ) from None


def asked(question: str) -> str:
    """Ask who is there, before anything is done; return the answer in small letters.

    Raises:
        BadInput: as `beforehand`.
        EOFError: there is no answer.
    """
    with beforehand():
        printer.ask(question)
    return input().strip().lower()


def agreed(args: argparse.Namespace, question: str) -> bool:
    """Ask whether to go on, unless `--yes` was typed.

    Raises:
        BadInput: nobody is there to be asked, or the question cannot be shown.
    """
    if args.yes:
        return True
    if args.json or not (sys.stdin and sys.stdin.isatty()):
        raise BadInput("Nobody is there to be asked. Nothing was done.", hint="Give --yes.")
    try:
        return asked(f"{question} [y/N]") in _YES
    except EOFError:  # Ctrl-D
        say("")
        return False


def complain(
    error: AgentbusError, *, as_json: bool = False, command: str = "", **known: str
) -> int:
    """Print an error of a command, and what to do next; return the exit code.

    `known` is what stands beside it for a program.
    """
    try:
        if as_json:
            say(told(error, as_json=True, command=command, **known))
            check_seen()
            return error.exit_code
        flush()
    except OSError:  # what was refused is so still, and is said where it can be
        to_nowhere(sys.stdout)
    printer.complain(told(error, as_json=False, command=command))
    return error.exit_code


def told(error: AgentbusError, *, as_json: bool, command: str, **known: str) -> str:
    """Return an error as `complain` prints it: data for standard output, or a text."""
    from mcp_agentbus.core.framing import spelled
    from mcp_agentbus.tools.answers.readers import SHELL

    about = SHELL.error(error, command)
    return spelled({**known, "error": about}) if as_json else _worded(about)


def retold(said: str) -> str:
    """Return the error in what was to be printed for a program, as a text; empty if none is."""
    from mcp_agentbus.core.text import from_json

    try:
        data = from_json(said)
    except ValueError:  # it is a text, which a listener has put on standard error by itself
        return ""
    about = data.get("error") if isinstance(data, dict) else None
    return _worded(about) if isinstance(about, dict) else ""


def _worded(about: Mapping[str, str]) -> str:
    return f"agentbus: {about['message']}\nHint: {about['hint']}"
