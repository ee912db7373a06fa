# SPDX-License-Identifier: Apache-2.0
"""What to do about an archive that cannot be used, by why it cannot.

>>> what_to_do(OSError(errno.ENOSPC, "No space left on device"))
'Free some disk space: what is on the bus, of 30 days, is read into it then.'

A file that is moved away takes with it what the bus no longer has, so that is said of no other than
one that is damaged.
"""

from __future__ import annotations

import errno
import sqlite3
from typing import Final

_BUSY: Final = "Call again: another process was writing to it."
_FULL: Final = "Free some disk space: what is on the bus, of 30 days, is read into it then."
_CLOSED: Final = (
    "See that your user can write there. `[archive] enabled = false` in config.toml does without."
)
_READ_ONLY: Final = (
    "Its disk is mounted read-only, as by a sandbox, or for a disk that has failed: see mount."
)
_DAMAGED: Final = (
    "Move that file away: it is made anew from what the bus keeps, of 30 days. "
    "`[archive] enabled = false` in config.toml does without."
)
#: By the code of SQLite, which is in the last byte of what says it more exactly.
_BY_CODE: Final = {
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR: _FULL,
    sqlite3.SQLITE_CANTOPEN: _CLOSED,
    sqlite3.SQLITE_PERM: _CLOSED,
    sqlite3.SQLITE_READONLY: _CLOSED,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})


def what_to_do(error: sqlite3.Error | OSError) -> str:
    """Return what whoever is told of it can do; empty if nothing more is known."""
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        return _READ_ONLY
    if isinstance(error, OSError):
        return _FULL if error.errno in _NO_ROOM else _CLOSED
    # What the module itself says has no code.
    return _BY_CODE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "")
