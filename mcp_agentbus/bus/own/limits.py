# SPDX-License-Identifier: Apache-2.0
"""How much this user's own server may store: what it was told at its start, and what it may have.

    >>> given_limit(settings), store_limit(settings)
    (8589934592, 8589934592)

It is a share of what the disk has left: what others write there it is not to be stopped by.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from mcp_agentbus.bus.own.files import Files
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core.files import read_whole

_STORE_MAX_BYTES: Final = 8 << 30
# A full disk leaves JetStream's streams unwritable until a restart, so stay well below it.
_SHARE_OF_FREE_DISK: Final = 4
_STORE_LIMIT: Final = re.compile(r"^ *max_file_store: *([0-9]{1,19})$", re.MULTILINE)


def store_limit(settings: Settings) -> int:
    """Return how many bytes the store may take: a quarter of what the disk has left for it."""
    files = Files(settings.data_dir)
    used = 0
    for folder, _, names in os.walk(files.store):
        for name in names:
            with suppress(FileNotFoundError):  # a running server removes files
                used += Path(folder, name).stat().st_size
    free = shutil.disk_usage(files.root).free
    return min(_STORE_MAX_BYTES, (free + used) // _SHARE_OF_FREE_DISK)


def given_limit(settings: Settings) -> int | None:
    """Return how many bytes the server was told when it was started; None if that is unreadable."""
    with suppress(OSError):
        conf = read_whole(Files(settings.data_dir).conf).decode(errors="replace")
        if told := _STORE_LIMIT.search(conf):
            return int(told[1])
    return None
