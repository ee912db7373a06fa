# SPDX-License-Identifier: Apache-2.0
"""One connection to a NATS server, from its opening to its end; it never reconnects.

`Reconnecting` opens a new one when this one is gone. That way nothing is kept in a buffer and
published later, after its sender was told that it failed, and no wait outlives the connection:
every request in flight fails at once when the connection ends or the server forbids its subject.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Final, TypeVar
from urllib.parse import urlsplit

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from mcp_agentbus.bus.login.account import Way
from mcp_agentbus.bus.login.login import Login
from mcp_agentbus.bus.login.trust import Trust, in_the_open, not_let_in, server_at
from mcp_agentbus.bus.nats_client import Cancellable, MendedClient, look_up
from mcp_agentbus.bus.replies import Garbled, HandedOut, Message, api_answer, api_result
from mcp_agentbus.config.sections.server import is_private
from mcp_agentbus.errors import NotAllowed, Refused, TooLarge

_T = TypeVar("_T")
_ACK: Final = "$JS.ACK."
CONNECT_TIMEOUT_S: Final = 2.0
# What is said is taken at once, unless the server hangs and all that lies between is full; a
# connection that cannot get rid of it in this time is dropped, in seconds.
_TAKES_WITHIN_S: Final = 2.0
# A `no_wait` pull is answered at once, unless everything that its consumer may hand out is handed
# out: then never. So the consumer is asked about that after this time without a word, in seconds.
_PULL_SILENT_S: Final = 0.3
API: Final = "$JS.API"
_ENDED: Final = (
    nats.errors.ConnectionClosedError, nats.errors.ConnectionDrainingError,
    nats.errors.OutboundBufferLimitError, OSError,
)  # fmt: skip
# A server's words about a login, such as 'User Authentication Expired'.
_LOGIN = re.compile("authoriz|authentic", re.IGNORECASE)
_VIOLATION = re.compile(r'permissions violation for \w+(?: to)? "([^"]*)"', re.IGNORECASE)


class LinkLost(Exception):
    """The connection ended before the answer came."""


class NoResponders(Exception):
    """The server knows nobody for that subject, its first argument: no stream takes it."""


class Link:
    """An open connection."""

    def __init__(self, client: MendedClient, way: Way) -> None:
        self._client, self._way = client, way
        self._inbox, self._calls = client.new_inbox(), 0
        self._waiting: dict[str, tuple[str, asyncio.Queue[Message | Exception]]] = {}
        #: Subjects that the server has forbidden, in small letters; the latest, as it may be many.
        self._denied: deque[str] = deque(maxlen=100)
        self._ended = False
        self._on_ended: Callable[[], None] | None = None

    @classmethod
    async def open(
        cls,
        url: str,
        login: Login,
        trust: Trust | None = None,
        way: Way = Way(),  # noqa: B008  # it has no state
        *,
        within_s: float = CONNECT_TIMEOUT_S,
    ) -> Link:
        """Connect.

        Args:
            url: where the server is.
            login: what opens it.
            trust: by what it is known; needed for a tls:// URL.
            way: how the bus is spoken with there.
            within_s: how long it is tried.

        Raises:
            BusUnreachable: nobody answers there; `CutOff` if somebody does, and ends it at once.
            Untrusted: by TLS it is not the right one, or it does not take this machine for that;
                without TLS it is in no private network.
            NotAllowed: the server does not take the login.
        """
        client = MendedClient()
        link = cls(client, way)

        async def ended() -> None:
            link._on_end()

        where, server = urlsplit(url), server_at(url)
        addresses = await look_up(where.hostname or "", where.port, within_s)
        if where.scheme != "tls" and not all(map(is_private, addresses)):
            raise in_the_open(server, addresses)
        try:
            async with asyncio.timeout(within_s):
                with Cancellable():
                    await client.enter(url, trust, link._on_error, ended, **login.options)
                    await client.subscribe(f"{link._inbox}.*", cb=link._on_reply)
        except BaseException as error:
            await client.end()
            if not isinstance(error, OSError | TimeoutError | nats.errors.Error):
                raise
            if isinstance(error, nats.errors.AuthorizationError) or _LOGIN.search(str(error)):
                raise login.refused(server, str(error)) from None
            why = client.unreachable(error, server, login.unanswered, by_tls=trust is not None)
            why = why or (await trust.refused(error, url) if trust else None)
            raise why or not_let_in(server, str(error)) from None
        return link

    @property
    def alive(self) -> bool:
        """Whether it can be used."""
        return not self._ended and self._client.is_connected

    @property
    def is_clustered(self) -> bool:
        """Whether the server is one of several, as it has said."""
        return self._client.is_clustered

    @property
    def shown_until(self) -> float | None:
        """As `MendedClient.shown_until`; None without TLS."""
        return self._client.shown_until

    async def close(self) -> None:
        """End the connection; safe to call twice."""
        await self._client.end()
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
        return await self.asked(subject, data, headers, timeout, lambda answer: answer)

    async def asked(
        self,
        subject: str,
        data: bytes,
        headers: Mapping[str, str] | None,
        timeout: float,
        read: Callable[[Message], _T],
    ) -> _T:
        """Send a request and return what `read` makes of the first answer that is not `Garbled`.

        Raises: as `request`, and as `read`.
        """
        with self._call(subject) as call:
            async with asyncio.timeout(timeout):
                await self._publish(subject, data, call.reply, headers)
                while True:
                    with suppress(Garbled):  # somebody else's: the server's own comes yet
                        return read(await call.next())

    async def stream(
        self, subject: str, data: bytes, timeout: float, read: Callable[[Message], _T]
    ) -> tuple[list[_T], Message]:
        """Send a request; return what `read` makes of all answers up to a status, and that one.

        What is `Garbled` is passed over; `timeout` is for each that is not.

        Raises: as `request`, and as `read`.
        """
        answers: list[_T] = []
        with self._call(subject) as call:
            async with asyncio.timeout(timeout) as limit:
                await self._publish(subject, data, call.reply, None)
                while not (answer := await call.next()).status:
                    with suppress(Garbled):
                        answers.append(read(answer))
                        limit.reschedule(asyncio.get_running_loop().time() + timeout)
        return answers, answer

    async def pull(self, stream: str, consumer: str, batch: int, timeout: float) -> list[Message]:
        """Send a `no_wait` pull and return what it brings, at most `batch` messages.

        The reply inbox lives for this call only: a pull that is never answered stays on the server
        until the interest in its reply is gone.

        Raises: as `request`; TimeoutError only if nothing at all came.
            HandedOut: everything that the consumer may hand out at once is handed out.
        """
        subject = f"{API}.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        reply = self._client.new_inbox()
        pulled: list[Message] = []
        with self._call(subject) as call:
            call.is_pull = True
            subscription = await self._subscribe(reply, call.arrived)
            try:
                async with asyncio.timeout(timeout) as limit:
                    await self._publish(
                        subject, json.dumps({"batch": batch, "no_wait": True}).encode(), reply, None
                    )
                    answer = await self._first(call, stream, consumer)
                    while not answer.status:
                        pulled.append(answer)
                        if len(pulled) == batch:
                            break
                        limit.reschedule(asyncio.get_running_loop().time() + timeout)
                        answer = await call.next()
            except TimeoutError:
                if not pulled:
                    raise
            finally:
                await self._unsubscribe(subscription)
        return pulled

    async def _first(self, call: _Answers, stream: str, consumer: str) -> Message:
        """Wait for the first answer to a pull, and find out why there is none."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PULL_SILENT_S):
                return await call.next()
        answer = await self.request(f"{API}.CONSUMER.INFO.{stream}.{consumer}")
        info = api_result("CONSUMER.INFO", api_answer(answer.data))
        if 0 < info["config"].get("max_ack_pending", 0) <= info["num_ack_pending"]:
            raise HandedOut
        return await call.next()

    async def subscribe(
        self, subject: str, arrived: Callable[[Message], None], group: str = ""
    ) -> Callable[[], Awaitable[None]]:
        """Call `arrived` for every message on `subject`; return what ends it.

        Of all that subscribe there with the same `group`, one is called; without it, each.
        """

        async def callback(message: Msg) -> None:
            arrived(_message(message))

        subscription = await self._subscribe(self._way.heard(subject), callback, group)
        return partial(self._unsubscribe, subscription)

    async def flush(self, timeout: float = 2.0) -> None:
        """Wait until the server has taken everything sent so far.

        Raises:
            TimeoutError: it has not in `timeout` seconds.
            LinkLost: the connection has ended.
        """
        try:
            async with asyncio.timeout(timeout):
                with Cancellable():
                    # Its own time limit is only there because it wants one.
                    await self._client.flush(timeout=2 * timeout)  # type: ignore[arg-type]
        except (nats.errors.Error, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise LinkLost from None

    @contextmanager
    def _call(self, subject: str) -> Generator[_Answers, None, None]:
        """Make a place for the answers to one request."""
        self._calls += 1
        token = str(self._calls)
        answers = _Answers(f"{self._inbox}.{token}", subject, self._way)
        self._waiting[token] = (self._way.asked(subject), answers.queue)
        try:
            yield answers
        finally:
            del self._waiting[token]

    async def _subscribe(
        self, subject: str, callback: Callable[[Msg], Awaitable[None]], group: str = ""
    ) -> Subscription:
        async with self._saying():
            return await self._client.subscribe(subject, queue=group, cb=callback)

    async def _unsubscribe(self, subscription: Subscription) -> None:
        with suppress(LinkLost, Refused):
            async with self._saying():
                await subscription.unsubscribe()

    async def _publish(
        self, subject: str, data: bytes, reply: str, headers: Mapping[str, str] | None
    ) -> None:
        if not self.alive:
            raise LinkLost
        async with self._saying():
            subject, given = self._way.asked(subject), dict(headers) if headers else None
            await self._client.publish(subject, data, reply=reply, headers=given)

    @asynccontextmanager
    async def _saying(self) -> AsyncGenerator[None, None]:
        """Have what is said within be taken in time, or else the connection end.

        Raises:
            LinkLost, Refused: it has ended; it cannot be said.
        """
        try:
            async with asyncio.timeout(_TAKES_WITHIN_S):
                with Cancellable():
                    yield
        except TimeoutError:
            self._client.drop()
            self._on_end()
            raise LinkLost from None
        except nats.errors.MaxPayloadError:
            raise TooLarge from None
        except _ENDED:
            raise LinkLost from None
        except nats.errors.Error as error:
            raise Refused(f"nats-py does not say this: {error}.") from None

    async def _on_reply(self, message: Msg) -> None:
        if waiting := self._waiting.get(message.subject.rsplit(".", 1)[1]):
            waiting[1].put_nowait(_message(message))

    async def _on_error(self, error: Exception) -> None:
        if violation := _VIOLATION.search(str(error)):
            self._denied.append(violation[1].lower())
            for subject, queue in self._waiting.values():
                # The server lower-cases nothing in subjects, nats-py does.
                if subject.lower() == violation[1].lower():
                    queue.put_nowait(NotAllowed())

    def was_denied(self, subject: str) -> bool:
        """Tell once whether what was said last, and flushed, was forbidden by the server."""
        with suppress(ValueError):
            self._denied.remove(self._way.asked(subject).lower())
            return True
        return False

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

    def __init__(self, reply: str, subject: str, way: Way) -> None:
        self.reply, self._subject, self._way = reply, subject, way
        self.queue: asyncio.Queue[Message | Exception] = asyncio.Queue()
        #: Whether they bring what was pulled; what no server sends there is passed over.
        self.is_pull = False

    async def next(self) -> Message:
        while True:
            answer = await self.queue.get()
            if isinstance(answer, Exception):
                raise answer
            if self._way.asked(self._subject) != self._subject:  # else no gate has heard of it
                answer = self._way.answer(answer)
            if answer.status == "503":
                raise NoResponders(self._subject)
            of_pull = answer.status.startswith("4") or answer.reply.startswith(_ACK)
            if of_pull or not self.is_pull:
                return answer

    async def arrived(self, message: Msg) -> None:
        self.queue.put_nowait(_message(message))


def _message(message: Msg) -> Message:
    return Message(message.subject, message.data, message.headers or {}, message.reply)
