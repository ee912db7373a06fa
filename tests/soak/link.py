# SPDX-License-Identifier: Apache-2.0
"""The link between one machine and its server: by TCP, and it can be cut, slow, or silent one way.

async with Link(4222) as link:
    link.cut()          # whatever is connected is closed, and whoever connects
    link.mend()
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Literal, Self

_PIECE = 1 << 16

Way = Literal["there", "back"]


class Link:
    """A port on loopback behind which the server is."""

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self._writers: set[asyncio.StreamWriter] = set()
        self._pipes: set[asyncio.Task] = set()
        self._is_cut = False
        self._passes: dict[Way, asyncio.Event] = {"there": asyncio.Event(), "back": asyncio.Event()}
        #: How much later each piece is passed on, in seconds.
        self.late_s = 0.0
        #: Held by who does something to it.
        self.turn = asyncio.Lock()
        self.mend()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    @property
    def is_used(self) -> bool:
        """Whether anybody is connected."""
        return bool(self._pipes)

    def cut(self) -> None:
        """Close all connections, and each new one, until it is mended."""
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def silence(self, way: Way) -> None:
        """Pass nothing on this way; what is said meanwhile comes once it is mended."""
        self._passes[way].clear()

    def mend(self) -> None:
        """Have all be well again."""
        self._is_cut, self.late_s = False, 0.0
        for passes in self._passes.values():
            passes.set()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far = await asyncio.open_connection("127.0.0.1", self._behind)
        except OSError:
            writer.transport.abort()
            return
        far_reader, far_writer = far
        if self._is_cut:
            writer.transport.abort()
            far_writer.transport.abort()
            return
        both = {writer, far_writer}
        self._writers |= both
        for way, source, drain in (("there", reader, far_writer), ("back", far_reader, writer)):
            pipe = asyncio.create_task(self._pass_on(way, source, drain, both))
            self._pipes.add(pipe)
            pipe.add_done_callback(self._pipes.discard)

    async def _pass_on(
        self,
        way: Way,
        source: asyncio.StreamReader,
        drain: asyncio.StreamWriter,
        both: set[asyncio.StreamWriter],
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := await source.read(_PIECE):
                if self.late_s:
                    await asyncio.sleep(self.late_s)
                await self._passes[way].wait()
                drain.write(piece)
                await drain.drain()
        for writer in both:
            writer.close()
        self._writers -= both
