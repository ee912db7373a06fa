# SPDX-License-Identifier: Apache-2.0
"""A second server of this user that nobody knows, whose files can take the place of the first's.

    with second_server.server(settings) as other:
        ...  # fill it, by `other.settings`
        other.take_its_place(settings, taken_at, may=lambda: True)
        ...  # look at what was there before

It lies beside the first, on the same disk, and is gone with all that it holds at the end of the
block, unless what was there before could not be backed up. Should this process be killed, the next
one finds it with `left`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.own.files import Files
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import locks, processes, text
from mcp_agentbus.core.files import own_folder, read_whole, sync, write_whole
from mcp_agentbus.errors import BadSetup, BusUnreachable

# Sessions that go on start a server again as soon as one has ended; this is as often stopped.
_STOPS_WITHIN_S: Final = 20.0
_PREFIX: Final = "restoring-"
# Of linux/fs.h and fcntl.h, and of macOS's sys/stdio.h.
_AT_FDCWD: Final = -100
_EXCHANGE: Final = 2


class SecondServer:
    """The second server; its folder is locked for as long as this process lives."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lock = settings.data_dir / "restoring.lock"
        self._mark = settings.data_dir / "has-what-was-there-before"

    @property
    def store(self) -> Path:
        """Where its files are."""
        return Files(self.settings.data_dir).store

    @property
    def has_what_was_there(self) -> bool:
        """Whether they are the first server's of before."""
        return self._mark.exists()

    @property
    def since(self) -> datetime | None:
        """When the backup was taken that took their place; None if that is not known."""
        with suppress(OSError, ValueError):
            return datetime.fromisoformat(read_whole(self._mark).decode())
        return None

    def let_go(self) -> None:
        """Need them no more."""
        self._mark.unlink()

    def end(self) -> None:
        """Stop it, and remove it unless it has what was there before."""
        with suppress(BusUnreachable, BadSetup):
            embedded.end(self.settings, signal.SIGKILL)
        if not self.has_what_was_there:
            shutil.rmtree(self.settings.data_dir, ignore_errors=True)

    def take_its_place(self, settings: Settings, since: datetime, may: Callable[[], bool]) -> bool:
        """Have the first server go on with these files, and this one with the first's.

        Both are stopped; whoever needs the first one starts it.

        Args:
            settings: the first server's.
            since: when the backup was taken that these files are of.
            may: asked once none runs and none can be started; where it says no, nothing is done.
                Returns what it says.

        Raises:
            BadSetup, BusUnreachable: the first one cannot be stopped.
            OSError: the folders cannot be moved. Nothing was changed.
        """
        embedded.end(self.settings)
        first = Files(settings.data_dir)
        give_up = time.monotonic() + _STOPS_WITHIN_S
        while time.monotonic() < give_up:
            embedded.end(settings)
            with locks.held(first.lock, wait=False) as lock:
                if lock is not None:  # none runs, and none can be started
                    if not may():
                        return False
                    locks.sign(lock, processes.known(os.getpid()))
                    own_folder(first.store)
                    write_whole(self._mark, b"")
                    _exchange(self.store, first.store)
                    first.note_use()
                    write_whole(self._mark, text.stamp(since).encode())
                    return True
        raise BusUnreachable(
            "The bus server was started again each time that it was stopped. Nothing was changed.",
            hint="End what uses it (agentbus listen --stop, and every session), then run it again.",
        )


def left(settings: Settings) -> list[SecondServer]:
    """End what killed processes have left, and return those that have what was there before."""
    others = [
        SecondServer(replace(settings, data_dir=folder, url=None))
        for folder in settings.data_dir.glob(f"{_PREFIX}*")
    ]
    ended = [other for other in others if not locks.is_held(other.lock)]
    for other in ended:
        if other.has_what_was_there and not other.store.exists():
            with suppress(FileNotFoundError):
                _aside(Files(settings.data_dir).store).rename(other.store)
        other.end()
    return [other for other in ended if other.has_what_was_there]


@contextmanager
def server(settings: Settings) -> Generator[SecondServer]:
    """Give a server that has nothing yet; it starts when it is connected to.

    Raises:
        OSError: its folder cannot be made.
    """
    own_folder(settings.data_dir)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=settings.data_dir))
    other = SecondServer(replace(settings, data_dir=folder, url=None))
    with locks.held(other.lock, wait=True):
        try:
            yield other
        finally:
            other.end()


def _exchange(one: Path, other: Path) -> None:
    """Have two folders take each other's place at one blow, or one after the other at worst.

    What a killed process has left aside comes back as its server starts, or by `left`.

    Raises:
        OSError: they are where they were.
    """
    if not _exchanged(os.fsencode(one), os.fsencode(other)):
        with ExitStack() as undo:
            for place, to in ((other, _aside(other)), (one, other), (_aside(other), one)):
                place.rename(to)
                undo.callback(to.rename, place)
            undo.pop_all()
    sync(other.parent)
    sync(one.parent)


def _aside(store: Path) -> Path:
    return store.with_name(f"{store.name}.before")


def _exchanged(one: bytes, other: bytes) -> bool:
    """Ask the system to do it; return False where it or the disk knows no such thing."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        if sys.platform == "darwin":
            failed = libc.renamex_np(one, other, _EXCHANGE)
        else:
            failed = libc.renameat2(_AT_FDCWD, one, _AT_FDCWD, other, _EXCHANGE)
    except AttributeError:
        return False
    number = ctypes.get_errno()
    if failed and number not in {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}:
        raise OSError(number, os.strerror(number), os.fsdecode(other))
    return not failed
