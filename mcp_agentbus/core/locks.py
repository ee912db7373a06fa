# SPDX-License-Identifier: Apache-2.0
"""One process at a time: a file that is locked for as long as its holder lives.

    >>> with held(folder / "listener.lock", wait=False) as lock:
    ...     lock is None  # somebody else has it
    False
    >>> sign(lock, processes.known(os.getpid()))

The kernel lets go of it when the last process that has its descriptor ends, however it ends; the
file itself stays, and holds who has it, for those who ask. It is for processes on one machine: a
lock on a network's disk may hold for this machine alone.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from mcp_agentbus.core.processes import Process

if TYPE_CHECKING:
    import sqlite3

_LOOK_AGAIN_S: Final = 0.005


def take(path: str | os.PathLike[str], *, wait: bool) -> int | None:
    """Return the descriptor of the locked file; None if somebody else has it and `wait` is false.

    Whoever closes it lets go; a process that has inherited it keeps the lock. Its folder is made,
    0700, if there is none.

    Raises:
        OSError: the file cannot be opened, is a link, or is no file.
        BadSetup: the folder is another user's: what root left there would be in that one's way.
    """
    # Not at the top: Windows lacks it, and nothing gets this far there.
    import fcntl

    # And this imports more than who only looks needs.
    from pathlib import Path

    from mcp_agentbus.core.files import own_folder, what_lies_at

    own_folder(Path(path).parent)
    with suppress(FileNotFoundError):
        what_lies_at(path)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        os.truncate(descriptor, 0)  # or who had it before would be taken for who has it
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def held(path: str | os.PathLike[str], *, wait: bool) -> Generator[int | None]:
    """Hold the lock, as `take`, until the block ends.

    Raises:
        OSError: as `take`.
    """
    descriptor = take(path, wait=wait)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def folder_held(path: str | os.PathLike[str], *, within_s: float) -> Generator[int | None]:
    """Hold a folder itself, as `held`; None if somebody else has it for as many seconds.

    It is -1 where no folder can be locked, as on a disk of a network.
    """
    descriptor = _locked_folder(path, time.monotonic() + within_s)
    try:
        yield descriptor
    finally:
        if descriptor is not None and descriptor >= 0:
            os.close(descriptor)


def _locked_folder(path: str | os.PathLike[str], give_up: float) -> int | None:
    import fcntl

    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < give_up:
                time.sleep(_LOOK_AGAIN_S)
                continue
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            return -1
        return descriptor


def is_held(path: str | os.PathLike[str]) -> bool:
    """Tell whether somebody has the lock.

    Raises:
        OSError: it cannot be looked at.
    """
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two who look do not take each other for a holder.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def sign(descriptor: int, process: Process) -> None:
    """Write into a locked file who has it; on a full disk nobody is told."""
    os.truncate(descriptor, 0)  # who handed it on has it no more, whatever comes of the rest
    with suppress(OSError):
        os.pwrite(descriptor, json.dumps(process._asdict()).encode() + b"\n", 0)


def holder(path: str | os.PathLike[str]) -> Process | None:
    """Return who has signed the lock last, and need not have it any more; None if nobody has."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe has nobody at its end
        try:
            about = json.loads(os.read(descriptor, 4096))
        finally:
            os.close(descriptor)
        process = Process(**about)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    kinds = [type(value) for value in process]
    return process if kinds == [int, str, str, str, str, float] else None


class LockWatch:
    """Who has a lock, and for how long that one was seen there.

    One look alone is not enough: whoever looks whether it is held has it for some microseconds, and
    a file that nobody else has names who had it once.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self._seen: Process | None = None
        self._since = time.monotonic()

    def look(self) -> tuple[Process | None, float]:
        """Return who has signed it, and for how many seconds each look has found that."""
        now = holder(self._path)
        if now != self._seen:
            self._seen, self._since = now, time.monotonic()
        return now, time.monotonic() - self._since


def write_ahead(file: sqlite3.Connection, within_s: float) -> None:
    """Have a SQLite file write ahead, though another process may open the same new file just then.

    SQLite does not wait for that one by itself, whatever the connection's timeout is: each has
    begun to read, and would wait for the other. See https://www.sqlite.org/rescode.html#busy.

    Raises:
        sqlite3.Error: it is locked for longer than so many seconds, or cannot be used.
    """
    import sqlite3

    give_up = time.monotonic() + within_s
    while True:
        try:
            file.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() > give_up:
                raise
        else:
            return
        time.sleep(_LOOK_AGAIN_S)
