# SPDX-License-Identifier: Apache-2.0
"""Servers that nobody finds any more, or that keep nothing: their files were removed, or moved.

    >>> strays.end(Files(settings.data_dir))
    True

A lock holds for its file, not for the name: where that is removed, `rm -rf` of the data folder is
enough, or moved, the next starter locks another file. A server that goes on meanwhile would write
to the same store, or to one that is deleted, and say of each task that it is stored. Where its
folder has another name it has its lock still; but what it opens anew, it looks for by the old one.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from mcp_agentbus.bus.own.files import Files
from mcp_agentbus.bus.server_conf import quoted
from mcp_agentbus.core import locks, processes
from mcp_agentbus.core.feather.ancestors import words
from mcp_agentbus.core.files import read_whole, shell_word
from mcp_agentbus.core.processes import Process
from mcp_agentbus.errors import BusUnreachable

_ENDS_WITHIN_S: Final = 20.0  # as `embedded.STOP_TIMEOUT_S`
_LOOK_AGAIN_S: Final = 0.005
# So Linux shows the path of an open file that has none any more.
_DELETED: Final = " (deleted)"
# How a command line of a server ends, see `embedded`.
_STARTED: Final = re.compile(r" -c (/.*/nats\.conf)$")


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


def beside(files: Files, pid: int) -> list[Process]:
    """Return those that run beside the server that is found, whose number is given.

    Started in another pid namespace, it has another one here; but it has the lock.
    """
    found = {pid, *processes.holding(str(files.lock))}
    return [each for each in of(files) if each.pid not in found]


def conf_of(server: Process, files: Files) -> str:
    """Return with which configuration a server was started, whatever its folder is called by now.

    That of these files, where its words say nothing of it.
    """
    if server.is_here:
        with suppress(OSError):
            if started := _STARTED.search(" ".join(words(server.pid)).rstrip()):
                return started[1]
    return str(files.conf)


def is_bereft(files: Files) -> bool:
    """Tell whether the server that has the lock lacks its store: it was removed, or moved."""
    return not files.store.exists() or _moved(files) is not None


def bereft(files: Files) -> BusUnreachable:
    """Return what is said of one that has its lock, and not what it stores."""
    if not (moved := _moved(files)):
        return _error(None, files.store)
    return BusUnreachable(
        f"A bus server ({moved.where}) runs whose folder was moved to {files.root}: it keeps "
        "nothing more.",
        hint="Run `agentbus server start`: it ends that one, and goes on with what is stored.",
    )


def _moved(files: Files) -> Process | None:
    """Return the server that has the lock, if it was started where these files are not any more."""
    server = locks.holder(files.lock)
    with suppress(OSError):
        named = quoted(str(files.store)).encode(errors="surrogateescape")
        if server is None or named in read_whole(files.conf):
            return None
        conf = conf_of(server, files)
        with suppress(FileNotFoundError):
            if files.conf.samefile(conf):  # by a link
                return None
        is_it = processes.is_still(server, holding=str(files.lock), naming=conf)
        # In a container the same folder may have another name all the time.
        return server if is_it and processes.sees_same_files(server.pid) else None
    return None


def _error(server: Process | None, removed: Path) -> BusUnreachable:
    who = f" ({server.where})" if server else ""
    return BusUnreachable(
        f"A bus server{who} runs, and somebody has moved or removed {removed}: nothing goes to it "
        "any more.",
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


def _is_near(pid: int) -> bool:
    """Tell whether a process is this user's, and its words and numbers mean the same as here."""
    with suppress(OSError):
        is_mine = Path(f"/proc/{pid}").stat().st_uid == os.getuid()
        return is_mine and processes.known(pid).is_here and processes.sees_same_files(pid)
    return False


def _has_open(pid: int, files: Files) -> bool:
    """Tell whether a process has the store open, or a lock that was removed, or moved.

    Its words alone do not tell: a container has a folder of the same name. Where the system tells
    no more than those, as on macOS, there are no such containers.
    """
    if sys.platform != "linux":
        return True
    folder, store, lock = f"/proc/{pid}/fd", None, None
    with suppress(OSError):
        store = files.store.stat()
    with suppress(OSError):
        lock = files.lock.stat()
    with suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208  # a hundredth of the time
            with suppress(FileNotFoundError):  # it was closed meanwhile
                path = Path(folder, name)
                leads_to, about = path.readlink(), path.stat()
                if str(leads_to) == f"{files.lock}{_DELETED}":
                    return True
                if store and os.path.samestat(about, store):
                    return True
                is_ours = lock is not None and os.path.samestat(about, lock)
                if leads_to.name == files.lock.name and not is_ours and _is_near(pid):
                    return True
    return False
