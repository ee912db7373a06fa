# SPDX-License-Identifier: Apache-2.0
"""Whether a person types a command, and what that one answers at the terminal itself.

    >>> check_is_person(os.environ, ancestors())
    >>> with Terminal.opened() as terminal:
    ...     terminal.ask("Its first 6 characters: ")
    '9d0c2f'

It keeps a model from giving its own approval in passing. It is no proof: a program of this user's
can make a terminal, and type there.
"""

from __future__ import annotations

import os
import termios
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from typing import Final, Self

from mcp_agentbus.core import hosts
from mcp_agentbus.core.feather.printer import columns
from mcp_agentbus.core.text import folded
from mcp_agentbus.errors import Refused

_TERMINAL: Final = "/dev/tty"
# More than anybody types on a line; a terminal gives a line at a time.
_LINE_MAX_BYTES: Final = 4096
_ELSEWHERE: Final = "Type it in a terminal of your own, outside of any agent."
# By which this program tells those that it starts whose they are.
_OURS: Final = ("AGENTBUS_HOST", "AGENTBUS_WORKER")


def check_is_person(environ: Mapping[str, str], ancestors: Iterable[set[str]]) -> None:
    """See that a command was not typed from within an agent's host, as far as that can be told.

    Args:
        environ: of this process.
        ancestors: as `core.feather.ancestors.ancestors`.

    Raises:
        Refused: it was, by its variables or by what has started it.
    """
    programs = {program for host in hosts.HOSTS for program in host.programs}
    is_within = hosts.marked(environ) is not None or any(map(environ.get, _OURS))
    if is_within or any(not programs.isdisjoint(words) for words in ancestors):
        raise Refused(
            "This was typed from within an agent's host, and it is for its user alone to decide. "
            "Nothing was stored.",
            hint=_ELSEWHERE,
        )


class Terminal:
    """The terminal at which this process was started, whatever its input and output are."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    @contextmanager
    def opened(cls) -> Generator[Self]:
        """Open it.

        Raises:
            Refused: there is none.
        """
        try:
            descriptor = os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            raise Refused(
                "There is no terminal here at which a person could be asked. Nothing was stored.",
                hint=_ELSEWHERE,
            ) from None
        try:
            yield cls(descriptor)
        finally:
            os.close(descriptor)

    def show(self, lines: str) -> None:
        """Print lines there, none wider than it is."""
        width = columns(self._descriptor)
        for line in lines.split("\n"):
            indent = line[: len(line) - len(line.lstrip(" "))]
            self._write(folded(line, width, indent, cut=True) + "\n")

    def ask(self, prompt: str) -> str:
        """Print a prompt and return the line that is typed then; what was typed before is void.

        It is empty where its end was typed alone, by Ctrl-D; then the prompt's line ends here.
        """
        with suppress(termios.error):
            termios.tcflush(self._descriptor, termios.TCIFLUSH)
        self._write(prompt)
        typed = os.read(self._descriptor, _LINE_MAX_BYTES)
        if not typed.endswith(b"\n"):
            self._write("\n")
        return typed.decode(errors="replace").strip()

    def _write(self, text: str) -> None:
        rest = text.encode(errors="backslashreplace")
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
