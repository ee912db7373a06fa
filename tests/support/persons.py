# SPDX-License-Identifier: Apache-2.0
"""A person at a terminal of their own, in tests: what is typed there, and what it shows.

>>> at_terminal(home, "9d0c2f", "approve", "9d0c2f1e")
Typed(code=0, out='Approved ...', shown='Task 9d0c2f1e... from planner ...')
"""

import os
import pty
import subprocess
import sys
from typing import NamedTuple

import forking
import served

_WITHIN_S = 60  # only a hang takes as long
# The command takes the terminal that is its standard error for its session's own, keeps it to its
# end, and writes its errors where its output goes. It does so itself, as a fork can.
_TAKE_TERMINAL = (
    "import fcntl, os, termios; os.setsid(); fcntl.ioctl(2, termios.TIOCSCTTY, 0); "
    "os.dup(2); os.dup2(1, 2); "
)


class Typed(NamedTuple):
    """What became of a command."""

    code: int
    out: str
    #: What the terminal showed, without what was typed.
    shown: str


def at_terminal(home, reply, *argv, ancestors=(), meanwhile=None, **variables):
    """Run `agentbus ARGV` at a terminal, and type `reply` where it asks for something.

    Its ancestors are called as said, whoever runs the tests; `meanwhile` is called before the reply.
    """
    called = f"core.feather.ancestors.ancestors = lambda: iter([set({list(ancestors)})])"
    ours, theirs = pty.openpty()
    *options, script = served.changed(called)
    process = forking.start(
        [sys.executable, *options, _TAKE_TERMINAL + script, *argv],
        env={**served.environ(home), **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    shown, is_typed = b"", False
    try:
        while piece := os.read(ours, 65_536):
            shown += piece
            if not is_typed and shown.endswith(b": "):
                is_typed = True
                if meanwhile:
                    meanwhile()
                os.write(ours, reply.encode() + b"\n")
    except OSError:  # the end of a terminal
        pass
    out, _ = process.communicate(timeout=_WITHIN_S)
    os.close(ours)
    return Typed(process.returncode, out.decode(), shown.decode().replace("\r\n", "\n"))
