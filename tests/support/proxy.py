# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy on loopback that cuts the connection at an exact word of the protocol.

    async with Proxy(settings) as proxy:
        proxy.cut_at_answer(b'"stream":"AGENTBUS_TASKS"')   # the acknowledgement of a task
        ...                                                 # stored, and nobody is told

It passes bytes on as they are, one read at a time, and looks for the word in each.
"""

import asyncio
import contextlib
from dataclasses import replace
from urllib.parse import urlsplit

from mcp_agentbus.bus import embedded


class Proxy:
    """Stands between this process and the server of `settings`."""

    def __init__(self, settings):
        self._behind = settings
        self._word = {"request": None, "answer": None}
        self._open = set()
        self._pipes = set()
        self._refusing = False
        self._silent = set()
        #: How much later the server's answers are passed on, in seconds.
        self.late_s = 0.0
        #: Called just before a connection is cut.
        self.before_cut = lambda: None
        #: Whether to refuse connections after a cut.
        self.stay_away = False
        #: Set once a word was met.
        self.cut = asyncio.Event()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        #: Settings of somebody who reaches the server through here.
        self.settings = replace(
            self._behind,
            url=f"nats://127.0.0.1:{port}",
            token_file=embedded.Files(self._behind.data_dir).token,
        )
        return self

    async def __aexit__(self, *_):
        self._server.close()
        self.refuse()
        await asyncio.gather(*self._pipes, return_exceptions=True)
        await self._server.wait_closed()

    def cut_at_answer(self, word):
        """Cut instead of passing on what the server says with this word in it."""
        self._word["answer"] = word

    def cut_at_request(self, word):
        """Cut instead of passing on what the client says with this word in it."""
        self._word["request"] = word

    def refuse(self):
        """Cut everything, and take no connection until `accept`."""
        self._refusing = True
        for writer in list(self._open):
            writer.close()

    def silence(self):
        """Have nothing come through on the connections that are open, which stay open."""
        self._silent |= self._open

    def accept(self):
        self._refusing = False

    async def _accepted(self, reader, writer):
        server = embedded.find(self._behind)
        if self._refusing or server is None:
            writer.close()
            return
        where = urlsplit(server.url)
        far_reader, far_writer = await asyncio.open_connection(where.hostname, where.port)
        both = (writer, far_writer)
        self._open.update(both)
        for direction, source, drain in (
            ("request", reader, far_writer),
            ("answer", far_reader, writer),
        ):
            pipe = asyncio.create_task(self._pass_on(direction, source, drain, both))
            self._pipes.add(pipe)
            pipe.add_done_callback(self._pipes.discard)

    async def _pass_on(self, direction, source, drain, both):
        with contextlib.suppress(OSError):
            while some := await source.read(1 << 16):
                if both[0] in self._silent:
                    continue
                word = self._word[direction]
                if word and word in some:
                    self._word[direction] = None
                    self._refusing = self.stay_away
                    self.before_cut()
                    self.cut.set()
                    break
                if direction == "answer" and self.late_s:
                    await asyncio.sleep(self.late_s)
                drain.write(some)
                await drain.drain()
        for writer in both:
            writer.close()
            self._open.discard(writer)
