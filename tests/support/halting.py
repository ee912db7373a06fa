# SPDX-License-Identifier: Apache-2.0
"""A process that is halted: from `halt`'s return on none of its threads does anything.

`kill -STOP` itself returns at once, and a busy machine lets the other threads go on for a while.
"""

import contextlib
import os
import signal
from pathlib import Path

from local_server import until

_HALTED = {"T", "Z", "X"}


def halt(pid: int) -> None:
    """Halt a process; return when each of its threads stands still."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: _states(pid) <= _HALTED, f"process {pid} stands still")


@contextlib.contextmanager
def halted(pid: int):
    """Have a process do nothing in this block."""
    try:
        halt(pid)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _states(pid: int) -> set[str]:
    stats = Path("/proc", str(pid), "task").glob("*/stat")
    return {_state(stat) for stat in stats}


def _state(stat: Path) -> str:
    try:
        return stat.read_text().rpartition(")")[2].split()[0]
    except OSError:  # a thread that ended meanwhile
        return "X"
