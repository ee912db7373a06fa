# SPDX-License-Identifier: Apache-2.0
"""What a worker's program prints: all of it, in memory as far as a result takes it, else in a file.

    with Whole(folder, task.created_at) as output:
        ...
    output.text         # None: it is no text, or longer than a result
    output.keep()       # then: the file that has it

A file is this user's alone, has a name that nobody foresees, and goes after the 30 days for which
results are kept, with a later task's.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from mcp_agentbus.core.children.output import Pipe
from mcp_agentbus.core.files import forget_older, own_folder
from mcp_agentbus.errors import BadSetup
from mcp_agentbus.store.task import RESULT_MAX_BYTES

#: Of what one program prints so much is kept, in bytes: a thousand fill no disk.
KEPT_MAX_BYTES: Final = 64 << 20
# As long as results are kept, in seconds.
_FILES_MAX_AGE_S: Final = 30 * 24 * 3600


class Whole(Pipe):
    """Takes all that is printed."""

    def __init__(self, folder: Path, come: datetime) -> None:
        """Make one that has a file in that folder; `come`: as `forget_older`."""
        super().__init__()
        self._folder, self._come = folder, come
        self._memory = bytearray()
        self._file = -1
        self._path: Path | None = None
        #: How many bytes were printed, and how many of them are kept.
        self.count = self.kept = 0
        #: Why no file could be written; empty if one was, or none was needed.
        self.lost = ""

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def take(self, chunk: bytes) -> None:
        """Keep it, as long as there is not far too much."""
        self.count += len(chunk)
        if self._path is None and not self.lost:
            self._memory += chunk
            self.kept = self.count
            if self.count > RESULT_MAX_BYTES:
                self._into_file()
            return
        self._write(chunk[: max(0, KEPT_MAX_BYTES - self.kept)])

    @property
    def text(self) -> str | None:
        """Return what was printed, if it is a text that a result may hold."""
        if self._path or self.lost:
            return None
        with suppress(UnicodeDecodeError):
            return self._memory.decode()
        return None

    def keep(self) -> Path | None:
        """Return the file that has what was printed, written if need be; None: see `lost`."""
        if self._path is None and not self.lost:
            self._into_file()
        return None if self.lost else self._path

    def _into_file(self) -> None:
        try:
            own_folder(self._folder)
            forget_older(self._folder, "output-*.txt", _FILES_MAX_AGE_S, self._come.timestamp())
            self._file, name = tempfile.mkstemp(prefix="output-", suffix=".txt", dir=self._folder)
            self._path = Path(name)
        except (OSError, BadSetup) as error:
            self._is_lost(error)
            return
        content, self._memory = bytes(self._memory), bytearray()
        self.kept = 0
        self._write(content)

    def _write(self, content: bytes) -> None:
        """Write to the file; what it does not take is lost, with all before it."""
        if self.lost or self._file < 0:
            return
        try:
            while content:
                written = os.write(self._file, content)
                self.kept += written
                content = content[written:]
        except OSError as error:
            self._is_lost(error)

    def _is_lost(self, error: OSError | BadSetup) -> None:
        self.lost = (error.strerror if isinstance(error, OSError) else error.message) or "an error"
        self._memory = bytearray()
        if self._path:
            self._path.unlink(missing_ok=True)
            self._path = None
