# SPDX-License-Identifier: Apache-2.0
"""One connection to a NATS server, from its opening to its end; it never reconnects.

`Reconnecting` opens a new one when this one is gone. That way nothing is kept in a buffer and
published later, after its sender was told that it failed, and no wait outlives the connection:
every request in flight fails at once when the connection ends or the server forbids its subject,
instead of at a time-out.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from mcp_agentbus.bus.replies import Message
from mcp_agentbus.errors import BusUnreachable, NotAllowed

CONNECT_TIMEOUT_S: Final = 2.0
# Two pings without an answer end the connection: a machine that went to sleep, a pulled cable.
_PING_INTERVAL_S: Final = 15
_VIOLATION = re.compile(r'permissions violation for \w+(?: to)? "([^"]*)"', re.IGNORECASE)


class LinkLost(Exception):
    """The connection ended before the answer came."""


class NoResponders(Exception):
    """The server knows nobody for that subject: no stream takes it."""


class _Client(Client):
    """nats-py, made to live through whatever others have stored.

    It ends the connection over a subject or a status line that is not UTF-8: one such message in
    an inbox would keep its agent off the bus for good.
    """

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except (UnicodeDecodeError, LookupError):
            return None

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        readable = subject.decode(errors="replace").encode()
        built: Msg = super()._build_message(sid, readable, reply, data, headers)
        return built


class Link:
    """An open connection."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._inbox = client.new_inbox()
        self._calls = 0
        self._waiting: dict[str, tuple[str, asyncio.Queue[Message | Exception]]] = {}
        self._ended = False
        self._on_ended: Callable[[], None] | None = None

    @classmethod
    async def open(cls, url: str, token: str | None) -> Link:
        """Connect.

        Raises:
            BusUnreachable: nobody answers there.
            NotAllowed: the server does not take the token.
        """
        client = _Client()
        link = cls(client)

        async def failed(error: Exception) -> None:
            link._on_error(error)

        async def ended() -> None:
            link._on_end()

        where = urlsplit(url)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                with _Cancellable():
                    await client.connect(
                        url,
                        token=token,
                        name="agentbus",
                        tls=ssl.create_default_context() if where.scheme == "tls" else None,
                        allow_reconnect=False,
                        # nats-py tries a dead port 60 times, 2 s apart, unless told both of these.
                        max_reconnect_attempts=1,
                        reconnect_time_wait=0,
                        ping_interval=_PING_INTERVAL_S,
                        error_cb=failed,
                        closed_cb=ended,
                    )
                    await client.subscribe(f"{link._inbox}.*", cb=link._on_reply)
        except BaseException as error:
            with suppress(Exception):  # it never was open
                await client.close()
            if not isinstance(error, OSError | TimeoutError | nats.errors.Error):
                raise
            if isinstance(error, nats.errors.AuthorizationError) or "uthoriz" in str(error):
                raise NotAllowed(
                    "The server does not take this token.",
                    hint="Check AGENTBUS_TOKEN_FILE; for the embedded server run "
                    "`agentbus server stop` and try again.",
                ) from None
            raise BusUnreachable(
                f"No server answers at {where.hostname}:{where.port}. Nothing was stored."
            ) from None
        return link

    @property
    def alive(self) -> bool:
        """Whether it can be used."""
        return not self._ended and self._client.is_connected

    async def close(self) -> None:
        """End the connection; safe to call twice."""
        # nats-py raises ConnectionResetError if the server went first.
        with _Cancellable(), suppress(Exception):
            await self._client.close()
        self._on_end()

    async def send(
        self, subject: str, data: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        """Hand `data` over without waiting for an answer.

        Raises:
            LinkLost: the connection has ended.
        """
        await self._publish(subject, data, "", headers)

    async def request(
        self,
        subject: str,
        data: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout: float = 2.0,
    ) -> Message:
        """Send a request and return the first answer.

        Raises:
            TimeoutError: none came in `timeout` seconds.
            LinkLost: the connection ended first.
            NoResponders: nobody serves the subject.
            NotAllowed: the server forbids it.
        """
        with self._call(subject) as call:
            await self._publish(subject, data, call.reply, headers)
            return await call.next(timeout)

    async def stream(
        self, subject: str, data: bytes, timeout: float
    ) -> tuple[list[Message], Message]:
        """Send a request and return all answers up to one with a status, and that one.

        Raises: as `request`.
        """
        answers: list[Message] = []
        with self._call(subject) as call:
            await self._publish(subject, data, call.reply, None)
            while True:
                answer = await call.next(timeout)
                if answer.status:
                    return answers, answer
                answers.append(answer)

    async def pull(self, subject: str, data: bytes, batch: int, timeout: float) -> list[Message]:
        """Send a `no_wait` pull and return what it brings, at most `batch` messages.

        The reply inbox lives for this call only: a pull that meets a full `max_ack_pending` is
        never answered and stays on the server until the interest in its reply is gone.

        Raises: as `request`; TimeoutError only if nothing at all came.
        """
        reply = self._client.new_inbox()
        pulled: list[Message] = []
        with self._call(subject) as call:
            subscription = await self._subscribe(reply, call.arrived)
            try:
                await self._publish(subject, data, reply, None)
                while len(pulled) < batch:
                    answer = await call.next(timeout)
                    if answer.status:
                        break
                    pulled.append(answer)
            except TimeoutError:
                if not pulled:
                    raise
            finally:
                await _unsubscribe(subscription)
        return pulled

    async def subscribe(
        self, subject: str, arrived: Callable[[Message], None]
    ) -> Callable[[], Awaitable[None]]:
        """Call `arrived` for every message on `subject`; return what ends it."""

        async def callback(message: Msg) -> None:
            arrived(_message(message))

        subscription = await self._subscribe(subject, callback)

        async def end() -> None:
            await _unsubscribe(subscription)

        return end

    async def flush(self) -> None:
        """Wait until the server has taken everything sent so far.

        Raises:
            LinkLost: the connection has ended.
        """
        try:
            with _Cancellable():
                await self._client.flush(timeout=2)
        except (nats.errors.Error, OSError, TimeoutError):
            raise LinkLost from None

    @contextmanager
    def _call(self, subject: str) -> Generator[_Answers, None, None]:
        """Make a place for the answers to one request."""
        self._calls += 1
        token = str(self._calls)
        answers = _Answers(f"{self._inbox}.{token}")
        self._waiting[token] = (subject, answers.queue)
        try:
            yield answers
        finally:
            del self._waiting[token]

    async def _subscribe(
        self, subject: str, callback: Callable[[Msg], Awaitable[None]]
    ) -> Subscription:
        try:
            with _Cancellable():
                return await self._client.subscribe(subject, cb=callback)
        except (nats.errors.Error, OSError):
            raise LinkLost from None

    async def _publish(
        self, subject: str, data: bytes, reply: str, headers: Mapping[str, str] | None
    ) -> None:
        if not self.alive:
            raise LinkLost
        try:
            with _Cancellable():
                await self._client.publish(
                    subject, data, reply=reply, headers=dict(headers) if headers else None
                )
        except (nats.errors.ConnectionClosedError, OSError):
            raise LinkLost from None

    async def _on_reply(self, message: Msg) -> None:
        waiting = self._waiting.get(message.subject.rsplit(".", 1)[1])
        if waiting:
            waiting[1].put_nowait(_message(message))

    def _on_error(self, error: Exception) -> None:
        violation = _VIOLATION.search(str(error))
        if violation:
            for subject, queue in self._waiting.values():
                # The server lower-cases nothing in subjects, nats-py does.
                if subject.lower() == violation[1].lower():
                    queue.put_nowait(NotAllowed())

    def on_end(self, call: Callable[[], None]) -> None:
        """Have `call` called when the connection ends, at once if it has."""
        self._on_ended = call
        if self._ended:
            call()

    def _on_end(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self._on_ended:
            self._on_ended()
        for _, queue in self._waiting.values():
            queue.put_nowait(LinkLost())


class _Answers:
    """Where the answers to one request come in."""

    def __init__(self, reply: str) -> None:
        self.reply = reply
        self.queue: asyncio.Queue[Message | Exception] = asyncio.Queue()

    async def next(self, timeout: float) -> Message:
        async with asyncio.timeout(timeout):
            answer = await self.queue.get()
        if isinstance(answer, Exception):
            raise answer
        if answer.status == "503":
            raise NoResponders
        return answer

    async def arrived(self, message: Msg) -> None:
        self.queue.put_nowait(_message(message))


class _Cancellable:
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


async def _unsubscribe(subscription: Subscription) -> None:
    with _Cancellable(), suppress(nats.errors.Error, OSError):
        await subscription.unsubscribe()


def _message(message: Msg) -> Message:
    return Message(message.subject, message.data, message.headers or {}, message.reply)
