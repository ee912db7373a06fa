# SPDX-License-Identifier: Apache-2.0
"""Tell a person one line by a program: started without a shell, limited in time, ended whole.

    >>> await tap(human, "coder needs an approval: agentbus task 9d0c2f1e", environ)
    Tapped(is_told=True, said='notify-send took it')

Whatever that program does, nothing else is hurt by it: the outcome is a value.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from mcp_agentbus.config import inherited
from mcp_agentbus.config.sections.human import Human
from mcp_agentbus.core.children.group import Group, start
from mcp_agentbus.core.children.output import End
from mcp_agentbus.errors import BadSetup
from mcp_agentbus.human import ways

#: After so many seconds the program is ended, with all that it has started.
TIME_LIMIT_S: Final = 20.0
# Of what it has printed, in bytes; and of that the last line, in characters.
_KEEP_BYTES: Final = 1_000
_SHOWN_CHARS: Final = 200


class Tapped(NamedTuple):
    """What became of it."""

    is_told: bool
    #: In a sentence, in this program's words; of a program that failed its last words.
    said: str


async def tap(
    human: Human, line: str, environ: Mapping[str, str], *, time_limit_s: float = TIME_LIMIT_S
) -> Tapped:
    """Tell a line.

    Raises:
        OSError: no descriptor is left.
    """
    try:
        program = ways.program(human, line, environ)
    except BadSetup as error:
        return Tapped(is_told=False, said=f"{error.message} {error.hint}")
    with End(_KEEP_BYTES) as output:
        try:
            process = start(
                program.argv,
                stdin=subprocess.PIPE,
                stdout=output.descriptor,
                stderr=output.descriptor,
                folder=_home(environ),
                environ=inherited.of_users_own(environ),
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            return Tapped(is_told=False, said=f"{program.argv[0]} cannot be run: {why}.")
        output.started()
        with Group(process) as group:
            assert process.stdin  # noqa: S101  # for mypy: it was started so
            with contextlib.suppress(BrokenPipeError), process.stdin:  # it need not read
                process.stdin.write(program.stdin.encode())
            in_time = await group.ended(time_limit_s)
        await output.rest()
    return _said(ways.name(human), group.exit_code, _last(human, output.text()), in_time=in_time)


def _home(environ: Mapping[str, str]) -> Path:
    """Return where it works: not where the listener happens to."""
    home = Path(environ.get("HOME") or "/")
    return home if home.is_dir() else Path("/")


def _said(name: str, code: int | None, last: str, *, in_time: bool) -> Tapped:
    if code is None:
        said = f"{name} takes more time than a tap may, and could not be ended."
        return Tapped(is_told=False, said=said)
    if not in_time:
        return Tapped(is_told=False, said=f"{name} was ended: it takes more time than a tap may.")
    if not code:
        return Tapped(is_told=True, said=f"{name} took it.")
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return Tapped(is_told=False, said=f"{name} {how}{f': {last}' if last else ''}.")


def _last(human: Human, output: str) -> str:
    """Return the last line that it printed, without control characters; of apprise nothing.

    That names addresses, which are secrets.
    """
    lines = [] if human.by == "apprise" else output.split("\n")
    shown = ("".join(filter(str.isprintable, line)).strip().rstrip(".") for line in lines)
    return next((line[-_SHOWN_CHARS:] for line in reversed([*shown]) if line), "")
