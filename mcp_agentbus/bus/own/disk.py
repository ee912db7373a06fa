# SPDX-License-Identifier: Apache-2.0
"""The disk under the embedded server: what of it is safe there, and what a full one leaves behind.

    >>> write_error(settings), revive(settings)
    ('no space left on device', True)

nats-server stores nothing any more once a write has failed, for want of room or of anything else,
and says so to nobody: it answers, and confirms nothing, until it is started anew. How much it may
store it is told once, as it is started: by a disk that was nearly full then.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from mcp_agentbus.bus import embedded, said
from mcp_agentbus.bus.own import limits
from mcp_agentbus.bus.own.files import Files
from mcp_agentbus.bus.own.torn import BEGINS, END_OF_LOG_BYTES
from mcp_agentbus.bus.replies import DISK_IS_FULL
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import locks
from mcp_agentbus.core.files import read_end, read_whole

# What a server says of a message that it could not write, in English whatever the locale. What a
# limit of ours refuses it says to who sent it.
_UNWRITTEN: Final = re.compile(
    r"\[ERR\] (?:JetStream failed to store a msg |File system permission denied |"
    r".*(?:no space left on device|disk quota exceeded)).*"
)
# At the end of that stands the system's reason; nothing else of it, as a path, is for others.
_REASON: Final = re.compile(r": ([a-z][a-z /-]{2,60})$")
_SOME_REASON: Final = "a reason that its log names"
# As its user may have written it: the server takes either key, in any case, with a comment behind.
_SYNCED: Final = re.compile(
    r"""^(?:(?!//)[^#\n])*?(?<![\w.-])sync(?:_interval)?\s*[:=\s]\s*["']?always(?![\w.-])""",
    re.IGNORECASE | re.MULTILINE,
)
# What is no want of room may be as it was: each start takes the server from all who use it.
_ANEW_AFTER_S: Final = 60.0
#: So many times as much room is worth a start anew, or another size of what is there.
MUCH_MORE: Final = 2
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


def start_anew(settings: Settings) -> None:
    """Stop the server and start it, at which what a power cut has torn is set aside.

    Raises: as `embedded.end` and `embedded.ensure`.
    """
    embedded.end(settings)
    embedded.ensure(settings)


def is_durable(settings: Settings) -> bool | None:
    """Tell whether what the server acknowledges is on the disk before; None if it cannot be read.

    By the configuration with which it was started.
    """
    return is_synced(Files(settings.data_dir).conf)


def is_synced(conf: Path) -> bool | None:
    """Tell the same by a configuration."""
    try:
        written = read_whole(conf).decode(errors="replace")
    except OSError:
        return None
    return _SYNCED.search(written) is not None


def revive(settings: Settings) -> bool:
    """Start a server anew that can store nothing since a write failed; return whether it was so.

    Nothing is done before its store takes something again, nor by two at once.

    Raises: as `embedded.end` and `embedded.ensure`.
    """
    files = Files(settings.data_dir)
    if write_error(settings) == said.READ_ONLY_HERE:  # then no lock can be taken there either
        return False
    with locks.held(files.root / "revive.lock", wait=True):
        why, mark = write_error(settings), files.root / "revived"
        if not why or (not said.is_full(why) and _is_fresh(mark)) or not has_room(settings):
            return False
        mark.touch(mode=0o600)
        start_anew(settings)
    return True


def widen(settings: Settings) -> bool:
    """Start a server anew that may store much more than it was told; return whether it was so.

    For who is told that there is no room left.

    Raises: as `embedded.end` and `embedded.ensure`.
    """
    if not is_cramped(settings):
        return False
    with locks.held(Files(settings.data_dir).root / "revive.lock", wait=True):
        if is_cramped(settings):  # else another has, meanwhile
            start_anew(settings)
    return True


def is_cramped(settings: Settings) -> bool:
    """Tell whether the running server was started while the disk was much fuller than it is."""
    given = limits.given_limit(settings)
    if given is None or not locks.is_held(Files(settings.data_dir).lock):
        return False
    may = limits.store_limit(settings)
    # Of what was told nothing, any disk has so many times as much, a full one, too.
    return may >= MUCH_MORE * given and may - given >= _ROOM_BYTES


def write_error(settings: Settings) -> str:
    """Return why the running server stores nothing until it is started anew; empty if it does.

    By its own log, which names each message that it could not write: the system's words, no path.
    What lies on a disk that is mounted read-only says nothing of it: then it is `READ_ONLY_HERE`.
    """
    files = Files(settings.data_dir)
    if not locks.is_held(files.lock):
        return ""
    with suppress(OSError):
        log = read_end(files.log, END_OF_LOG_BYTES).decode(errors="replace")
        if unwritten := _UNWRITTEN.search(log.rpartition(BEGINS)[2]):
            full = next((each for each in DISK_IS_FULL if each in unwritten[0]), "")
            reason = _REASON.search(unwritten[0])
            return full or (reason[1] if reason else _SOME_REASON)
    return said.READ_ONLY_HERE if _is_read_only(files.store) else ""


def _is_read_only(store: Path) -> bool:
    """Tell whether the system lets this process write nothing there, whatever it lets a server."""
    try:
        tempfile.TemporaryFile(dir=store).close()
    except OSError as error:
        return error.errno == errno.EROFS
    return False


def _is_fresh(mark: Path) -> bool:
    with suppress(OSError):
        return abs(time.time() - mark.stat().st_mtime) < _ANEW_AFTER_S
    return False


def has_room(settings: Settings) -> bool:
    """Tell whether the store takes something again, by writing it: a quota shows no other way."""
    files = Files(settings.data_dir)
    with suppress(OSError), tempfile.TemporaryFile(dir=files.store) as probe:
        probe.write(b"\0" * _PROBE_BYTES)
        probe.flush()
        os.fsync(probe.fileno())
        return shutil.disk_usage(files.store).free > _ROOM_BYTES
    return False
