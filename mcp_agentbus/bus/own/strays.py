# SPDX-License-Identifier: Apache-2.0
"""Servers of this user that nobody finds any more: their lock, or their files, were removed.

    >>> strays.end(Files(settings.data_dir))
    True

A lock holds for its file, not for the name: where that is removed, `rm -rf` of the data folder is
enough, the next starter locks another file. A server that goes on meanwhile would write to the same
store, or to one that is deleted, and say of each task that it is stored.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from mcp_agentbus.bus.own.files import Files
from mcp_agentbus.core import processes
from mcp_agentbus.core.files import shell_word
from mcp_agentbus.core.processes import Process
from mcp_agentbus.errors import BusUnreachable

_ENDS_WITHIN_S: Final = 20.0  # as `embedded.STOP_TIMEOUT_S`
_LOOK_AGAIN_S: Final = 0.005
# So Linux shows the path of an open file that has none any more.
_DELETED: Final = " (deleted)"


def of(files: Files) -> list[Process]:
    """Return the servers of these files that run without their lock, or without their store.

    Who calls it holds the lock, or has seen that nobody does.
    """
    ours = processes.started_with("-c", str(files.conf))
    return [processes.known(pid) for pid in ours if _has_open(pid, files)]


def end(files: Files, how: signal.Signals = signal.SIGTERM) -> bool:
    """End them, and wait until they are gone; return whether there was one.

    Raises:
        BusUnreachable: one did not end in time.
    """
    found, give_up = of(files), time.monotonic() + _ENDS_WITHIN_S
    for server in found:
        for number in (how, signal.SIGCONT):  # one that was halted ends only when it goes on
            processes.signal(server, number, naming=str(files.conf))
    for server in found:
        while processes.is_still(server, naming=str(files.conf)):
            if time.monotonic() > give_up:
                raise BusUnreachable(
                    f"A bus server that had lost its lock ({server.where}) did not end.",
                    hint=f"It may be writing; if it hangs: kill -9 {server.pid}",
                )
            time.sleep(_LOOK_AGAIN_S)
    return bool(found)


def told(files: Files) -> BusUnreachable | None:
    """Return what is said of one that runs where none is found."""
    return next((_error(each, files.lock) for each in of(files)), None)


def bereft(files: Files) -> BusUnreachable:
    """Return what is said of one that has its lock, and not what it stores."""
    return _error(None, files.store)


def _error(server: Process | None, removed: Path) -> BusUnreachable:
    who = f" ({server.where})" if server else ""
    return BusUnreachable(
        f"A bus server{who} runs, and somebody has removed {removed}: nothing goes to it any more.",
        hint="Run `agentbus server start`: it ends that one, and goes on with what is still there.",
    )


def unseen(files: Files) -> BusUnreachable:
    """Return the error of a starter that finds the store in use, and by nobody that it sees."""
    return BusUnreachable(
        f"A process that is not seen from here has {files.store} open, and "
        f"{files.lock.name} was removed meanwhile: nothing was started.",
        hint="Run `agentbus server stop` outside all sandboxes and containers, then this again; "
        f"see: fuser -v {shell_word(files.store)}",
    )


def _has_open(pid: int, files: Files) -> bool:
    """Tell whether a process has the store open, or a lock that was removed.

    Its words alone do not tell: a container has a folder of the same name. Where the system tells
    no more than those, as on macOS, there are no such containers.
    """
    if sys.platform != "linux":
        return True
    folder, store = f"/proc/{pid}/fd", None
    with suppress(OSError):
        store = files.store.stat()
    with suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208  # a hundredth of the time
            with suppress(FileNotFoundError):  # it was closed meanwhile
                path = f"{folder}/{name}"
                if os.readlink(path) == f"{files.lock}{_DELETED}":  # noqa: PTH115
                    return True
                if store and os.path.samestat(Path(path).stat(), store):
                    return True
    return False
