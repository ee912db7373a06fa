# SPDX-License-Identifier: Apache-2.0
"""The seat of a user's listener: there is one, and whoever asks is told who has it.

    with taken(place) as is_ours:
        ...
    >>> seated(place)
    Seated(process=Process(pid=4711, ...), lock='/home/me/.local/state/agentbus/listener-5d0c.lock')

It is held by two locks. The one in the state folder outlives the folder of the socket, which is
removed at logout, by tmpfiles, or by a person; it is for one user, boot and pid namespace, as
containers may share a home. The one beside the socket is for those who share that folder.
"""

# No `annotations` of __future__: a named tuple compiles those, for a millisecond of each start.
import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from mcp_agentbus.core import locks, places, processes
from mcp_agentbus.core.places import Where
from mcp_agentbus.core.processes import Process
from mcp_agentbus.errors import NoListener, SilentListener

# Whoever looks whether a lock is held has it for some microseconds.
_TRIES: Final = 3
_AGAIN_S: Final = 0.01
# A lock file that nobody has touched for so long is of a container that is gone, in seconds.
_FORGOTTEN_S: Final = 30 * 86400


class Seated(NamedTuple):
    """Who has the seat."""

    #: None if it has not said so, as an earlier version's.
    process: Process | None
    #: The file that it holds.
    lock: str

    @property
    def who(self) -> str:
        """Who it is, for people."""
        return f"a listener ({self.process.where})" if self.process else "a listener"

    @property
    def is_here(self) -> bool:
        """Whether it can be reached from here, as far as is known."""
        return self.process is None or self.process.is_here


def door_lock(where: Where) -> str:
    """Return the lock beside the socket."""
    return f"{where.runtime_dir}/listener.lock"


def seat_lock(where: Where, space: str | None = None) -> str:
    """Return the lock that holds for this user, and for this boot and pid namespace, or another."""
    # Imported late: few need it.
    import zlib

    space = processes.space() if space is None else space
    mark = zlib.crc32(f"{os.getuid()} {space}".encode())
    return f"{places.state_folder(where.environ)}/listener-{mark:08x}.lock"


@contextmanager
def taken(where: Where) -> Generator[bool]:
    """Hold the seat until the block ends; yield whether it was free.

    The lock beside the socket is the `Door`'s, which follows that folder.

    Raises:
        OSError: a folder cannot be used.
        BadSetup: the state folder is another user's.
    """
    descriptor = _tried(seat_lock(where))
    if descriptor is None:
        yield False
        return
    try:
        if is_free := not locks.is_held(door_lock(where)):
            locks.sign(descriptor, processes.known(os.getpid()))
            _clean(where)
        yield is_free
    finally:
        os.close(descriptor)


def seated(where: Where) -> Seated | None:
    """Return who has the seat, or the folder of its socket; None if nobody has."""
    for path in (seat_lock(where), door_lock(where)):
        if locks.is_held(path):
            return Seated(locks.holder(path), path)
    return None


def is_taken_in(space: str, where: Where) -> bool:
    """Tell whether there is a listener in another pid namespace that shares this user's folders."""
    return locks.is_held(seat_lock(where, space))


def absence(where: Where) -> NoListener:
    """Return why no listener answers here, and what to do about it."""
    there = seated(where)
    if there is None:
        return NoListener()
    process, socket = there.process, f"{where.runtime_dir}/listener.sock"
    if process is None:
        from mcp_agentbus.core.files import shell_word  # late: few need it

        return SilentListener(
            "A listener runs that takes no connection.",
            hint="It may just start or end: run this again. If that does not help, end the process "
            f"that this names: fuser {shell_word(there.lock)}",
        )
    if not process.is_here:
        return SilentListener(
            f"The listener runs elsewhere: {process.where}. Nothing here reaches {socket}.",
            hint="Run `agentbus listen --stop` there, or set XDG_RUNTIME_DIR to a folder that is "
            "this machine's alone.",
        )
    return SilentListener(
        f"The listener ({process.where}) runs, but takes no connection at {socket}.",
        hint="If its socket was removed, it is there again in a second: run this again. If the "
        "listener was started under another XDG_RUNTIME_DIR: `agentbus listen --replace`",
    )


def _tried(path: str) -> int | None:
    for _ in range(_TRIES):
        if (descriptor := locks.take(path, wait=False)) is not None:
            return descriptor
        time.sleep(_AGAIN_S)
    return None


def _clean(where: Where) -> None:
    """Remove the locks of earlier boots, and of containers that are gone."""
    folder, ours = os.path.split(seat_lock(where))
    boot = processes.space().partition(" ")[0]
    for name in os.listdir(folder):  # noqa: PTH208
        path = f"{folder}/{name}"
        if not name.startswith("listener-") or not name.endswith(".lock") or name == ours:
            continue
        with suppress(OSError):
            signed = locks.holder(path)
            host = os.uname().nodename
            over = signed and signed.host == host and not signed.space.startswith(boot)
            old = time.time() - os.stat(path).st_mtime > _FORGOTTEN_S  # noqa: PTH116
            if (over or old) and not locks.is_held(path):
                os.unlink(path)  # noqa: PTH108
