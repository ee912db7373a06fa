# SPDX-License-Identifier: Apache-2.0
"""How a command of this process prints, a text or with `--json` the data, and how it asks.

    >>> show(args, "stopped", {"running": False})
    stopped

What the listener prints for a command comes as text, and goes through `tell`, or `say` as data.
"""

from __future__ import annotations

import argparse
import codecs
import io
import json
import os
import sys
from contextlib import suppress
from typing import Any, Final

from mcp_agentbus.errors import AgentbusError, BadInput

# Of what a peer or a host's program wrote, see `core.framing`.
_FRAME_INDENT: Final = 4
_YES: Final = frozenset({"y", "yes"})


class _Patient(io.FileIO):
    """A descriptor in non-blocking mode that waits for its reader, as in the other mode."""

    def write(self, data: Any) -> int:
        """Write what is taken now, once anything is; return how many bytes."""
        import select

        while (count := super().write(data)) is None:
            select.select([], [self], [])
        return count


def be_patient() -> None:
    """Have what is printed wait for a slow reader, whatever mode its pipe or terminal is in."""
    for name in ("stdout", "stderr"):
        with suppress(OSError, ValueError, AttributeError):  # it is closed, or none of the system's
            stream = getattr(sys, name)
            if not os.get_blocking(stream.fileno()):
                out = io.BufferedWriter(_Patient(stream.fileno(), "w", closefd=False))
                text = io.TextIOWrapper(out, stream.encoding, stream.errors, line_buffering=True)
                setattr(sys, name, text)


def spell_out() -> None:
    r"""Have a letter that standard output cannot show printed as `\u` and its number."""

    def spelled(error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeEncodeError):
            raise error
        letters = error.object[error.start : error.end]
        return "".join(json.dumps(letter)[1:-1] for letter in letters), error.end

    codecs.register_error("spelled", spelled)
    if isinstance(sys.stdout, io.TextIOWrapper):  # else there is none, or no encoding
        with suppress(OSError):  # since it was opened, its descriptor has become a pipe's
            sys.stdout.reconfigure(errors="spelled")


def say(text: str) -> None:
    """Print a line now, as the reader may wait for it at the other end of a pipe."""
    print(text, flush=True)


def tell(text: str) -> None:
    """Print a text for a person, with no word cut at the edge of the terminal.

    What stands in a frame stays indented, so that no line of it begins where this program's do;
    in a pipe it stays as it is.
    """
    from mcp_agentbus.core.text import columns, folded

    width, is_seen = columns(), os.isatty(1)
    lines = []
    for line in text.split("\n"):
        indent = line[: len(line) - len(line.lstrip(" "))]
        is_framed = len(indent) >= _FRAME_INDENT
        fits = is_framed and not is_seen
        more = indent if is_framed else f"{indent}  "
        lines.append(line if fits else folded(line, width, more, cut=is_framed))
    say("\n".join(lines))


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
    from mcp_agentbus.core.framing import spelled
    from mcp_agentbus.core.text import columns, folded
    from mcp_agentbus.tools.answers.readers import SHELL

    about = SHELL.error(error, command)
    if as_json:
        print(spelled({**known, "error": about}))
    else:
        lines = (f"agentbus: {about['message']}", f"Hint: {about['hint']}")
        width = columns(2)
        print("\n".join(folded(line, width, "  ") for line in lines), file=sys.stderr)
    return error.exit_code
