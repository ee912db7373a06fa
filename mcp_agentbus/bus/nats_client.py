# SPDX-License-Identifier: Apache-2.0
"""nats-py, mended where it waits for ever, keeps a cancel to itself, or dies of a peer's bytes.

    client = MendedClient()
    with Cancellable():
        await client.enter(url, trust, failed, ended, nkey=None, token=token)
    await client.end()

For one connection that never reconnects; `connection` has what is made of it.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from nats.aio.client import DEFAULT_BUFFER_SIZE, Client
from nats.aio.msg import Msg
from nats.aio.transport import TcpTransport
from nats.errors import MaxPayloadError, StaleConnectionError
from nats.protocol import parser

from mcp_agentbus.bus.login.trust import NoTls, Trust
from mcp_agentbus.core.aio import in_thread
from mcp_agentbus.errors import BusUnreachable, Untrusted

_STATUS_LINE: Final = b"NATS/1.0 "
# What to do about a server that took the connection, and may do so again in a while.
_HANGS: Final = "Call again in a while; if it stays so, tell whoever runs the server."
# Two pings without an answer end the connection: a machine that went to sleep, a pulled cable.
_PING_INTERVAL_S: Final = 15
# A connection that cannot get rid of what it has to say, as its server hangs, is dropped then.
_CLOSE_TIMEOUT_S: Final = 0.5

# It takes a vertical tab and a form feed for the end of a word, as no server does that lets them
# stand in a subject: whoever stored one so ended each connection that it was sent to.
_OF_MESSAGE: Final = (
    rb"\A%sMSG[ \t]+([^ \t\r\n]+)[ \t]+([^ \t\r\n]+)[ \t]+(([^ \t\r\n]+)[ \t]+)?%s(\d+)\r\n"
)
parser.MSG_RE = re.compile(_OF_MESSAGE % (b"", b""))
parser.HMSG_RE = re.compile(_OF_MESSAGE % (b"H", rb"(\d+)[ \t]+"))


class _Transport(TcpTransport):
    async def connect_tls(self, *given: Any, **named: Any) -> None:
        try:
            await super().connect_tls(*given, **named)
        except BaseException:
            # Closing waits for an end that nobody tells of any more.
            writer, self._io_writer = self._io_writer, None
            if writer:
                writer.transport.abort()
            raise
        # nats-py does not tell the protocol, over which asyncio prints a warning as a server goes.
        transport = getattr(self._io_writer, "transport", None)
        if transport and (protocol := transport.get_protocol()):  # else it has gone already
            protocol.connection_made(transport)


class MendedClient(Client):
    """nats-py's client, which ends when it is told to, and not over what others have stored."""

    #: How far it came: somebody listens there, who greets as a NATS server does, and wants TLS.
    _reached = _greeted = _wants_tls = False
    #: Why nobody listens there, in the system's words.
    _refused = ""

    @property
    def is_clustered(self) -> bool:
        """Whether the server belongs to a cluster, as its greeting says."""
        return "cluster" in self._server_info

    @property
    def shown_until(self) -> float | None:
        """Until when the certificate holds that the server has shown, in seconds since 1970."""
        writer = getattr(self._transport, "_io_writer", None)
        shown = writer.get_extra_info("peercert") if writer else None
        return ssl.cert_time_to_seconds(shown["notAfter"]) if shown else None

    async def enter(
        self,
        url: str,
        trust: Trust | None,
        failed: Callable[[Exception], Awaitable[None]],
        ended: Callable[[], Awaitable[None]],
        *,
        nkey: str | None,
        **login: Any,
    ) -> None:
        """Connect, once.

        Args:
            url: where the server is.
            trust: by what it is known, if by TLS.
            failed: hears of what the server refuses.
            ended: hears of the end.
            nkey: the public one, where `login` has what signs by it.
            login: what opens the server, in the words of nats-py's `connect`.
        """
        # It sets these two for those alone whose seed it reads itself, by a library of its own.
        self._public_nkey, self._auth_configured = nkey, nkey is not None
        await self.connect(
            url,
            **login,
            name="agentbus",
            tls=trust.context if trust else None,
            allow_reconnect=False,
            # nats-py tries a dead port 60 times, 2 s apart, unless told both of these.
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            ping_interval=_PING_INTERVAL_S,
            error_cb=failed,
            closed_cb=ended,
        )

    def unreachable(
        self, error: BaseException, server: str, hint: str, *, by_tls: bool
    ) -> BusUnreachable | None:
        """Return why there is no connection, of a client whose `connect` failed.

        None if it failed later than where this tells: the server has greeted, with TLS as asked,
        and has then said no or gone. It is `Untrusted` where trying again changes nothing.

        Args:
            error: by which it failed.
            server: HOST:PORT, for people.
            hint: what to do where nobody answers there.
            by_tls: its URL says tls.
        """
        port = "See that AGENTBUS_URL, or url in config.toml, has the port of the bus"
        if not self._reached:
            why = f": {self._refused}" if self._refused else " in time"
            said = f"No server answers at {server}{why}. Nothing was stored."
            return BusUnreachable(said, hint=hint)
        if self._wants_tls and not by_tls:
            return Untrusted(
                f"The server at {server} wants TLS, and its URL does not say tls. "
                "Nothing was stored.",
                hint=f"Write tls://{server} in AGENTBUS_URL, or as url in config.toml.",
            )
        hangs = isinstance(error, TimeoutError)
        if self._greeted:
            what = f"The server at {server} greets, and does not go on in time. Nothing was stored."
            return BusUnreachable(what, hint=_HANGS) if hangs else None
        if not hangs:
            return BusUnreachable(
                f"What listens at {server} is no NATS server, or ends at once. Nothing was stored.",
                hint=f"{port}.",
            )
        return BusUnreachable(
            f"Something listens at {server} and says nothing. Nothing was stored.",
            hint="If it is the bus, it hangs, or waits for TLS from the first byte: have whoever "
            f"runs it take handshake_first out of its tls block. {port}.",
        )

    async def _connect_to_server(self, s: Any) -> None:
        self._transport = _Transport()  # type: ignore[no-untyped-call]
        limit_s = self.options["connect_timeout"]
        try:
            await self._transport.connect(s.uri, DEFAULT_BUFFER_SIZE, limit_s)
        except OSError as error:
            self._refused = os.strerror(error.errno) if error.errno else ""
            raise
        self._reached = True

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:  # noqa: FBT001, FBT002  # as nats-py has it
        if initial_connection:
            self._greeted, self._wants_tls = True, bool(info.get("tls_required"))
        # It would go on in plain text, and send the token so.
        if initial_connection and self._is_to_be_tls():
            # One that leaves it to us gets what its URL says.
            info["tls_required"] = info.get("tls_required") or info.get("tls_available")
            if not info["tls_required"]:
                raise NoTls
        await super()._process_info(info, initial_connection)

    def _is_to_be_tls(self) -> bool:
        return self._current_server is not None and self._current_server.uri.scheme == "tls"

    def drop(self) -> None:
        """End the connection without saying what waits to be said."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer:
            writer.transport.abort()

    async def _process_op_err(self, e: Exception) -> None:
        # It would wait until a server that takes nothing has taken all, and tell nobody meanwhile.
        if self.is_connected:
            self.drop()
            if self._closed_cb:
                await self._closed_cb()
        with suppress(OSError):
            await super()._process_op_err(e)

    async def _close(self, status: int, do_cbs: bool = True) -> None:  # noqa: FBT001, FBT002  # as nats-py has it
        try:
            await super()._close(status, do_cbs)
        finally:
            # It leaves those that hear to wait for ever where what is left to say fails first, as
            # of a server that has gone.
            for heard in self._subs.values():
                heard._stop_processing()  # noqa: SLF001  # as it does itself
            self._subs.clear()

    async def publish(
        self,
        subject: str,
        payload: bytes = b"",
        reply: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        """Say something. Raises: as nats-py's, of which a `MaxPayloadError` is no end of it."""
        # It leaves out the headers; a server ends the connection over one byte more.
        lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        head = f"NATS/1.0\r\n{lines}\r\n" if headers else ""
        if len(head.encode()) + len(payload) > self.max_payload:
            raise MaxPayloadError
        await super().publish(subject, payload, reply, headers)

    async def _send_ping(self, future: asyncio.Future[bool] | None = None) -> None:
        # It would go past what waits to be written, and its answer is to say that this was taken.
        if self._transport and self._pending:
            waiting, self._pending, self._pending_data_size = self._pending, [], 0
            self._transport.writelines(waiting)
        await super()._send_ping(future)

    async def _process_pong(self) -> None:
        # A flush that was cancelled, or has waited long enough, is answered all the same; nats-py
        # stops reading over it.
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    async def _read_loop(self) -> None:
        # Whatever else it may stop reading over: a connection that hears nothing has ended.
        await super()._read_loop()
        if self.is_connected:
            await self._process_op_err(StaleConnectionError())

    async def end(self) -> None:
        """Close the connection, also one whose server takes nothing any more."""
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                # nats-py raises ConnectionResetError if the server went first.
                with Cancellable(), suppress(Exception):
                    await self.close()
        except TimeoutError:
            self.drop()  # else it waits until all is said

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        # It would end the connection over a status line that is not UTF-8, and so over one message
        # in an inbox keep its agent off the bus for good; so for the subject below.
        try:
            named: dict[str, str] | None = await super()._process_headers(headers)
        except (UnicodeDecodeError, LookupError):
            return None
        # A server's status stands in the first line; nats-py takes any header of that name for it.
        if named and not headers.startswith(_STATUS_LINE):
            named.pop("Status", None)
        return named

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        readable = subject.decode(errors="replace").encode()
        built: Msg = super()._build_message(sid, readable, reply, data, headers)
        return built


class Cancellable:
    """A block that calls nats-py, which must not keep a cancel of its caller to itself.

    It catches `CancelledError` where it flushes, and `asyncio.wait_for`, which it uses, loses a
    cancel that comes with the result (Python before 3.12): its caller would wait for ever.
    """

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._cancels = self._task.cancelling() if self._task else 0

    def __exit__(self, *_: object) -> None:
        if self._task and self._task.cancelling() > self._cancels:
            raise asyncio.CancelledError


async def look_up(name: str, port: int | None, within_s: float) -> list[str]:
    """Return a server's addresses, for which the connection asks again.

    asyncio asks in a thread that a call which gives up, and the end of its process, wait for: a
    name server that is away costs a minute.

    Raises:
        BusUnreachable: it has none, or nobody says so.
    """
    hint = "Check AGENTBUS_URL, or url in config.toml, and the network of this machine."
    try:
        async with asyncio.timeout(within_s):
            known = await in_thread(socket.getaddrinfo, name, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        why = "no name server answers"
    except OSError as error:
        why = error.strerror or type(error).__name__
    else:
        return [str(place[0]) for *_, place in known]
    raise BusUnreachable(f"{name} has no address: {why}. Nothing was stored.", hint=hint)
