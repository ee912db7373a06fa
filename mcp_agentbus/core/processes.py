# SPDX-License-Identifier: Apache-2.0
"""A process's parent: who it is, and when it ends, as a host's death is to its servers.

on_end(lambda: os._exit(0))
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

# Where the system cannot tell.
_LOOK_AGAIN_S: Final = 1.0


def parent_of(pid: int) -> int:
    """Return the parent's id of another process; 0 where the system does not tell."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123  # pathlib weighs a megabyte
            # Its name, in brackets, may hold anything.
            return int(stat.read().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def on_end(end: Callable[[], None]) -> None:
    """Call `end`, in a thread of its own, when the parent process ends.

    Whoever else keeps our standard input open does not matter.
    """
    parent = os.getppid()
    threading.Thread(target=_watch, args=(parent, end), name="agentbus-parent", daemon=True).start()


def _watch(parent: int, end: Callable[[], None]) -> None:
    try:
        _wait(parent)
    except (OSError, AttributeError):
        while os.getppid() == parent:
            time.sleep(_LOOK_AGAIN_S)
    end()


def _wait(parent: int) -> None:
    if sys.platform == "linux":
        descriptor = os.pidfd_open(parent)
        try:
            select.select([descriptor], [], [])
        finally:
            os.close(descriptor)
    else:
        queue = select.kqueue()
        its_end = select.kevent(
            parent, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT
        )
        queue.control([its_end], 1)


# `ps` answers in some milliseconds.
_PS_TIMEOUT_S: Final = 5.0


def born(pid: int) -> str:
    """Return when a process was started, in its system's words; empty if there is none."""
    try:
        if sys.platform == "linux":
            # The name before it, in parentheses, may hold blanks and parentheses; field 22 of all.
            return (
                Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
            )
        told = subprocess.run(
            ["/bin/ps", "-o", "lstart=", "-p", str(pid)],
            env={"LC_ALL": "C"},
            capture_output=True,
            text=True,
            timeout=_PS_TIMEOUT_S,
            check=False,
        )
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return ""
    return told.stdout.strip()
