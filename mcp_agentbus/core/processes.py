# SPDX-License-Identifier: Apache-2.0
"""Other processes of this machine: whose child one is, when it was started, when a parent ends.

    >>> parent_of(os.getpid()) == os.getppid()
    True
    >>> on_end(lambda: os._exit(0))  # as a host's death is the end of its servers

A number alone names no process: it is given again. With the moment of its start, it does. Nothing
here ends a process, or looks at what it does.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

# Where the system cannot tell of a parent's end, it is looked for this often, in seconds.
_LOOK_AGAIN_S: Final = 1.0
# `ps` answers in some milliseconds.
_PS_TIMEOUT_S: Final = 5.0
# In /proc/PID/stat behind the name, counted from 0; proc(5) counts them from 1, as 4 and 22.
_PARENT: Final = 1
_STARTED: Final = 19


def parent_of(pid: int) -> int:
    """Return the id of a process's parent; 0 if it has ended, or the system does not tell."""
    stat = _stat(pid)
    return int(stat[_PARENT]) if stat else 0


def born(pid: int) -> str:
    """Return when a process was started, in its system's words; empty if it has ended.

    The same for as long as it lives, and another one for the next process of this number.
    """
    if sys.platform == "linux":
        stat = _stat(pid)
        return stat[_STARTED] if stat else ""
    # Imported late: a relayed session does without it.
    import subprocess

    try:
        ps = subprocess.run(
            ["/bin/ps", "-o", "lstart=", "-p", str(pid)],
            env={"LC_ALL": "C"},
            capture_output=True,
            text=True,
            timeout=_PS_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ps.stdout.strip()


def on_end(end: Callable[[], None]) -> None:
    """Call `end`, in a thread of its own, when the parent process ends.

    Whoever else keeps our standard input open does not matter.
    """
    parent = os.getppid()
    threading.Thread(target=_watch, args=(parent, end), name="agentbus-parent", daemon=True).start()


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat that stand behind the process's name; empty if none.

    The name stands in parentheses and may hold blanks, parentheses and ends of lines itself.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123  # pathlib weighs a megabyte
            return stat.read().rpartition(b")")[2].decode().split()
    except OSError:
        return []


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
