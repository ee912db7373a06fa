# SPDX-License-Identifier: Apache-2.0
"""The state of consumers that a power cut has torn: the server makes none anew in their place.

    >>> [path.name for path in states(Files(settings.data_dir))]
    ['coder_normal']

What waits there is in the stream, whole, and nothing of it is handed out. Without that state the
consumer is made as it is used again, and offers what was not finished once more: whose it is stands
in the records.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from mcp_agentbus.bus.own.files import Files
from mcp_agentbus.core import places
from mcp_agentbus.core.files import read_end

#: With which a server begins, in its log.
BEGINS: Final = "Starting nats-server"
#: At the end of a log, what is looked at.
END_OF_LOG_BYTES: Final = 64 * 1024
# What a server says of each as it starts, and whenever one is to be made.
_TORN: Final = re.compile(
    r"'\$G > ([\w-]+) > ([\w-]+)': error creating store for consumer: corrupt state file"
)


def states(files: Files) -> list[Path]:
    """Return the folders of those that the server has found damaged since it was started last."""
    with suppress(OSError):
        said = read_end(files.log, END_OF_LOG_BYTES).decode(errors="replace")
        streams = files.store / "jetstream/$G/streams"
        named = dict.fromkeys(_TORN.findall(said.rpartition(BEGINS)[2]))
        folders = (streams / stream / "obs" / name for stream, name in named)
        return [folder for folder in folders if folder.is_dir()]
    return []


def set_aside(files: Files) -> None:
    """Move them where no server finds them. None runs: who calls it has locked the store.

    Raises:
        OSError: one cannot be moved.
    """
    for number, folder in enumerate(states(files)):
        aside = files.root / "damaged"
        places.make_private(aside)
        stream = folder.parent.parent.name
        folder.rename(aside / f"{time.time_ns() + number}-{stream}-{folder.name}")
