# SPDX-License-Identifier: Apache-2.0
"""What a program prints, taken as it comes.

    with End(4096) as output:
        process = start(argv, stdout=output.descriptor, ...)
        output.started()
        ...                       # the program has ended
        await output.rest()
        output.text()

Whoever else holds the other end open is waited for no longer than a moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from typing import Final, Self

from mcp_agentbus.core import places

# What is in the pipe at the end is there at once; only a process outside the group adds more.
_LAST_READ_S: Final = 0.5
# As much as a pipe of Linux or macOS holds.
_READ_BYTES: Final = 64 * 1024


class Pipe:
    """A pipe that is read all the time; what becomes of it, `take` says."""

    def __init__(self) -> None:
        self._closed = asyncio.Event()

    def __enter__(self) -> Self:
        self._reader, self.descriptor = os.pipe()
        try:
            os.set_blocking(self._reader, False)
            asyncio.get_running_loop().add_reader(self._reader, self._read)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.started()
        asyncio.get_running_loop().remove_reader(self._reader)
        os.close(self._reader)

    def started(self) -> None:
        """Close what the process has now."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    async def rest(self) -> None:
        """Read what is left, for as long as somebody may be writing, but not for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_READ_S):
                await self._closed.wait()

    def take(self, chunk: bytes) -> None:
        """Take what was printed next."""
        raise NotImplementedError

    def _read(self) -> None:
        if chunk := os.read(self._reader, _READ_BYTES):
            self.take(chunk)
        else:
            asyncio.get_running_loop().remove_reader(self._reader)
            self._closed.set()


class End(Pipe):
    """Keeps the last `keep_bytes`."""

    def __init__(self, keep_bytes: int) -> None:
        super().__init__()
        self._keep_bytes = keep_bytes
        self._end = b""

    def take(self, chunk: bytes) -> None:
        """Keep the end of it."""
        self._end = (self._end + chunk)[-self._keep_bytes :]

    def text(self) -> str:
        """Return what was kept."""
        return self._end.decode(errors="replace")


class FileEnd:
    """The same by a file without a name: it takes what is written even after this process is gone.

    A pipe would end a process that is left alone with SIGPIPE. The file is in a folder of this
    user's: where all may write, others can fill the disk.
    """

    def __init__(self, keep_bytes: int) -> None:
        self._keep_bytes = keep_bytes

    def __enter__(self) -> Self:
        folder = places.state_folder(os.environ)
        places.make_private(folder)
        self._file = tempfile.TemporaryFile("ab+", prefix="agentbus-", dir=folder)
        self.descriptor = self._file.fileno()
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def started(self) -> None:
        """Do nothing: it is read at the end."""

    async def rest(self) -> None:
        """Do nothing: all is there."""

    def text(self) -> str:
        """Return what was kept."""
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(max(0, size - self._keep_bytes))
        return self._file.read(self._keep_bytes).decode(errors="replace")
