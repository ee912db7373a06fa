# SPDX-License-Identifier: Apache-2.0
"""A secret line from a terminal that does not show it, or from standard input.

    >>> asked("Paste the line: ", most=16_384)
    'agentbus-join-1-...'

A terminal hands over 4,095 letters of a line at most, macOS's 1,024, unless it is told to hand over
each as it comes; and what was pasted behind the first end of a line must not be left to the shell,
which would run it and keep it in its history.
"""

from __future__ import annotations

import os
import select
import sys
import termios
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

# What was pasted comes at once.
_PASTED_S: Final = 0.2
_PIECE: Final = 4096
# By the enter key, and by Ctrl-D.
_ENDS: Final = (b"\r", b"\n", b"\x04")
# As a terminal may put them around what is pasted.
_BRACKETS: Final = (b"\x1b[200~", b"\x1b[201~")


def asked(prompt: str, most: int) -> str:
    """Return what is typed or pasted, or piped in; without a word of it on the screen.

    Args:
        prompt: shown to a person.
        most: bytes that are read.
    """
    if not (sys.stdin and sys.stdin.isatty()):
        return sys.stdin.buffer.read(most).decode(errors="replace") if sys.stdin else ""
    descriptor = sys.stdin.fileno()
    with _silent(descriptor):
        print(prompt, end="", file=sys.stderr, flush=True)
        raw = _typed(descriptor, most)
    print(file=sys.stderr)
    for bracket in _BRACKETS:
        raw = raw.replace(bracket, b"")
    return raw.decode(errors="replace")


def _typed(descriptor: int, most: int) -> bytes:
    """Return all up to the end of a line, and what has come with it."""
    typed = b""
    while len(typed) < most:
        is_over = typed.endswith(_ENDS)
        if is_over and not select.select([descriptor], [], [], _PASTED_S)[0]:
            break
        if not (piece := os.read(descriptor, _PIECE)):
            break
        typed += piece
    return typed.rstrip(b"\x04")


@contextmanager
def _silent(descriptor: int) -> Generator[None]:
    """Have a terminal show nothing of what is typed, and hand it over as it comes."""
    before = termios.tcgetattr(descriptor)
    silent = termios.tcgetattr(descriptor)
    silent[3] &= ~(termios.ECHO | termios.ICANON)
    silent[6][termios.VMIN], silent[6][termios.VTIME] = 1, 0
    termios.tcsetattr(descriptor, termios.TCSADRAIN, silent)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)
