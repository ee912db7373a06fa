# SPDX-License-Identifier: Apache-2.0
"""The disk under the embedded server: what of it is safe there, and what a full one leaves behind.

    >>> is_write_dead(settings), revive(settings)
    (True, True)

nats-server stores nothing any more once a write has failed for want of room, and says so to nobody:
it answers, and confirms nothing, until it is started anew.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from contextlib import suppress
from typing import Final

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.embedded import Files
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import locks
from mcp_agentbus.core.files import read_end, read_whole

# What a server says of a message that it could not write, in English whatever the locale.
_NO_ROOM: Final = re.compile(r"\[ERR\] .*(no space left on device|disk quota exceeded)")
# And with which it begins.
_BEGINS: Final = "Starting nats-server"
_END_OF_LOG_BYTES: Final = 64 * 1024
# Room for the server to start, and for one large task.
_ROOM_BYTES: Final = 8 << 20
_PROBE_BYTES: Final = 1 << 20


class Ground:
    """The files on which this user's own server stood when it was connected to."""

    def __init__(self, settings: Settings) -> None:
        self._store = None if settings.url else Files(settings.data_dir).store
        self._was = self._look()

    @property
    def holds(self) -> bool:
        """Whether they are there still: what a server takes without them is lost with it."""
        return self._was == self._look()

    def _look(self) -> tuple[int, int] | None:
        with suppress(OSError):
            if self._store:
                about = self._store.stat()
                return about.st_dev, about.st_ino
        return None


def is_durable(settings: Settings) -> bool | None:
    """Tell whether what the server acknowledges is on the disk before; None if it cannot be read.

    By the configuration with which it was started.
    """
    try:
        conf = read_whole(Files(settings.data_dir).conf).decode(errors="replace")
    except OSError:
        return None
    return re.search(r"^\s*sync_interval:\s*always\s*$", conf, re.MULTILINE) is not None


def revive(settings: Settings) -> bool:
    """Start a server anew that can store nothing since its disk was full; return whether it was so.

    Nothing is done before there is room again, nor by two at once.

    Raises: as `embedded.stop` and `embedded.ensure`.
    """
    files = Files(settings.data_dir)
    with locks.held(files.root / "revive.lock", wait=True):
        if not (is_write_dead(settings) and has_room(settings)):
            return False
        embedded.stop(settings)
        embedded.ensure(settings)
    return True


def is_write_dead(settings: Settings) -> bool:
    """Tell whether the running server has met a full disk: it stores nothing until a restart.

    By its own log, which names each message that it could not write.
    """
    files = Files(settings.data_dir)
    if not locks.is_held(files.lock):
        return False
    with suppress(OSError):
        said = read_end(files.log, _END_OF_LOG_BYTES).decode(errors="replace")
        return _NO_ROOM.search(said.rpartition(_BEGINS)[2]) is not None
    return False


def has_room(settings: Settings) -> bool:
    """Tell whether the disk takes something again, by writing it: a quota shows no other way."""
    with suppress(OSError), tempfile.TemporaryFile(dir=settings.data_dir) as probe:
        probe.write(b"\0" * _PROBE_BYTES)
        probe.flush()
        os.fsync(probe.fileno())
        return shutil.disk_usage(settings.data_dir).free > _ROOM_BYTES
    return False
