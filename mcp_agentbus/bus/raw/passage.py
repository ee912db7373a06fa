# SPDX-License-Identifier: Apache-2.0
"""A connection by which messages pass as they came: their headers as bytes, their hearer at once.

    passage = await Passage.open(find_servers(settings, may_start=False)[0])
    passage.hear("agentbus-gate.*.>", heard, group="gate")
    passage.say("agentbus.coder.back", b"")

For whoever hands on what others say to each other, which a `Bus` would read, and write anew
otherwise. Who hears is called while the connection reads, so that a message costs no task, and what
comes faster than it is handed on waits at the server. It never reconnects.
"""

from __future__ import annotations

import asyncio
from asyncio import sslproto
from collections.abc import Callable
from typing import Final, NamedTuple

import nats.errors

from mcp_agentbus.bus.address import Address
from mcp_agentbus.bus.connection import CONNECT_TIMEOUT_S
from mcp_agentbus.bus.nats_client import Cancellable, MendedClient
from mcp_agentbus.core.aio import note_failure
from mcp_agentbus.errors import BusUnreachable

# Of what a server has not taken yet, in bytes: one that takes nothing any more hangs.
_UNTAKEN_MAX: Final = 64 << 20
# So many are heard before whoever else waits has a turn: some milliseconds.
_IN_A_ROW: Final = 25
# By TLS asyncio holds for each connection what it reads at once, 256 KiB, and a gate has one for
# each account: two thirds of its memory. As much as TLS has in one record does as well; in bytes.
sslproto.SSLProtocol.max_size = 16 << 10


class Passed(NamedTuple):
    """A message as it came."""

    #: What is no UTF-8 in it is replaced, so that it is nobody's name.
    subject: str
    reply: str
    #: `NATS/1.0`, a status if it has one, and its headers, each line with its end; or nothing.
    head: bytes
    data: bytes


Hearer = Callable[[Passed], None]


class _Client(MendedClient):
    def __init__(self) -> None:
        super().__init__()
        self.hearers: dict[int, Hearer] = {}
        self._in_a_row = 0
        #: For how long nothing more is to be heard.
        self.rest_s = 0.0

    def write(self, frames: list[bytes]) -> bool:
        """Write what was said, at once; return whether the server takes it."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is None:
            return False
        writer.write(b"".join(frames))
        return bool(writer.transport.get_write_buffer_size() < _UNTAKEN_MAX)

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        if hearer := self.hearers.get(sid):
            answer_to = reply.decode(errors="replace") if reply else ""
            try:
                hearer(Passed(subject.decode(errors="replace"), answer_to, headers or b"", data))
            except Exception as error:  # noqa: BLE001  # nats-py would stop reading over it
                # What an error says may have been somebody's who said it here.
                where = RuntimeError(type(error).__name__).with_traceback(error.__traceback__)
                note_failure("a hearer of what passes", where)
            self._in_a_row += 1
            if self.rest_s or self._in_a_row >= _IN_A_ROW:
                self._in_a_row, rest_s, self.rest_s = 0, self.rest_s, 0.0
                await asyncio.sleep(rest_s)


class Passage:
    """An open connection."""

    def __init__(self, client: _Client) -> None:
        self._client = client
        self._next = 0
        self._out: list[bytes] = []
        #: Set once the connection has ended.
        self.ended = asyncio.Event()

    @classmethod
    async def open(cls, server: Address) -> Passage:
        """Connect, as somebody whom the server lets say and hear what it is to.

        Raises:
            BusUnreachable: nobody answers there who takes the login, by TLS the right one.
        """
        client = _Client()
        passage = cls(client)

        async def failed(_: Exception) -> None:
            """Leave what the server refuses: it is lost, and its sender's to repeat."""

        async def ended() -> None:
            passage.ended.set()

        login = server.login
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                with Cancellable():
                    await client.enter(server.url, server.trust, failed, ended, **login.options)
        except BaseException as error:
            await client.end()
            if not isinstance(error, Exception):
                raise
            raise BusUnreachable(f"No connection is opened by {login.what}.") from None
        return passage

    @property
    def alive(self) -> bool:
        """Whether it can be used."""
        return not self.ended.is_set() and self._client.is_connected

    async def close(self) -> None:
        """End the connection; safe to call twice."""
        self._write()
        await self._client.end()
        self.ended.set()

    def hear(self, subject: str, hearer: Hearer, group: str = "") -> int:
        """Have each message on a subject heard; `unhear` takes what it returns."""
        self._next += 1
        self._client.hearers[self._next] = hearer
        self._put(f"SUB {subject} {group} {self._next}\r\n".encode())
        return self._next

    def unhear(self, number: int) -> None:
        """End what `hear` has begun; a second time it does nothing."""
        if self._client.hearers.pop(number, None):
            self._put(b"UNSUB %d\r\n" % number)

    @property
    def most(self) -> int:
        """How much the server takes in one message, its headers included, in bytes."""
        return int(self._client.max_payload)

    def say(self, subject: str, data: bytes, head: bytes = b"", reply: str = "") -> None:
        """Hand a message over; it may be lost, and one that is too large is.

        Args:
            subject: checked by the caller to be one: without a space or line end.
            data: with the head at most what the server takes, else it would end the connection.
            head: as `Passed.head`; checked likewise.
            reply: as the subject.
        """
        if len(head) + len(data) > self.most:
            return
        to = f"{subject} {reply}" if reply else subject
        if head:
            line = f"HPUB {to} {len(head)} {len(head) + len(data)}\r\n"
        else:
            line = f"PUB {to} {len(data)}\r\n"
        self._put(line.encode() + head + data + b"\r\n")

    def rest(self, seconds: float) -> None:
        """Hear nothing for so long once the hearer that runs has returned: what comes waits."""
        self._client.rest_s = seconds

    async def flush(self) -> None:
        """Return once the server has taken all that was said.

        Raises:
            BusUnreachable: it does not.
        """
        self._write()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                with Cancellable():
                    await self._client.flush()
        except (OSError, nats.errors.Error):
            raise BusUnreachable from None

    def _put(self, frame: bytes) -> None:
        if not self._out:
            asyncio.get_running_loop().call_soon(self._write)
        self._out.append(frame)

    def _write(self) -> None:
        """Write what was said in this round of the loop, all at once."""
        out, self._out = self._out, []
        if out and self.alive and not self._client.write(out):
            self._client.drop()
            self.ended.set()
