# SPDX-License-Identifier: Apache-2.0
"""The bus: store with acknowledgement, take and give back, read records. Knows NATS, not tasks.

    async with Bus.ephemeral() as bus:
        stored = await bus.publish("agentbus.coder.tasks.high.planner", b"...", message_id="9d0c")
        [delivery] = await bus.pull("AGENTBUS_TASKS", "coder_high", 1)
        await bus.finish(delivery)

It connects at the first use and again whenever the connection was lost; the embedded server is
started where it does not run. What it cannot say for certain it does not say: `BusUnreachable`
means that nothing was handed over, `Unconfirmed` that something was and no answer came.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.address import find_server
from mcp_agentbus.bus.connection import Link, LinkLost, NoResponders
from mcp_agentbus.bus.replies import (
    NO_SUCH_CONSUMER,
    WRONG_REVISION,
    ApiError,
    Conflict,
    Delivery,
    Found,
    Message,
    Stored,
    api_answer,
    delivery,
    found,
    refusal,
)
from mcp_agentbus.config.settings import Settings, load_settings
from mcp_agentbus.errors import AgentbusError, BusUnreachable, Unconfirmed

# A call ends within 5 s with an answer, whatever the server does.
CALL_TIMEOUT_S: Final = 4.0
# One try within it. A healthy server takes 1 ms; a slow disk may take 100.
_TRY_TIMEOUT_S: Final = 1.5
# A no_wait pull is answered at once, unless `max_ack_pending` is reached: then never.
_PULL_TIMEOUT_S: Final = 1.0
_BACKOFF_S: Final = (0.02, 0.1, 0.3, 0.6)
# What is left of the 5 s to find out why a server took a message and confirmed nothing.
_WHY_TIMEOUT_S: Final = 0.4
_GONE: Final = "The bus server went away. Nothing was stored."
_API: Final = "$JS.API"

_T = TypeVar("_T")
_Subscription = tuple[str, Callable[[Message | None], None], Callable[[], Awaitable[None]]]


class Bus:
    """A connection to the bus that mends itself."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or load_settings()
        #: Makes anew what the server lost at its end: it keeps streams in memory for as long only.
        self.on_missing: Callable[[], Awaitable[None]] | None = None
        self._link: Link | None = None
        self._opening = asyncio.Lock()
        self._closed = False
        #: What is heard: subject, whom to call, what ends it on the present connection.
        self._subscriptions: dict[int, _Subscription] = {}
        self._numbers = itertools.count()

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, settings: Settings | None = None) -> AsyncGenerator[Bus, None]:
        """Open the bus that the settings name; the embedded one is started if need be."""
        bus = cls(settings)
        try:
            yield bus
        finally:
            await bus.close()

    @classmethod
    @contextlib.asynccontextmanager
    async def ephemeral(cls) -> AsyncGenerator[Bus, None]:
        """Open a private bus in a temporary folder that goes when the block ends."""
        with embedded.ephemeral() as settings:
            async with cls.connect(settings) as bus:
                yield bus

    @property
    def admin(self) -> Bus:
        """The connection that may create and change streams and consumers.

        The embedded server's token opens everything, so here it is the same one.
        """
        return self

    async def close(self) -> None:
        """End the connection; safe to call twice."""
        self._closed = True
        if self._link:
            await self._link.close()

    async def publish(
        self,
        subject: str,
        data: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        message_id: str | None = None,
    ) -> Stored:
        """Store a message; return once the server has acknowledged it.

        It is tried again with the same id until `CALL_TIMEOUT_S`, so it is stored once at most.

        Args:
            subject: a stream's subject.
            data: at most the server's `max_payload`, 1 MB.
            headers: strings only.
            message_id: a second message with this id is acknowledged and not stored; made up if
                not given.

        Raises:
            InboxFull, StoreFull, BadInput: the server takes no more, or none of that size.
            NotAllowed: the server's permissions forbid it.
            BusUnreachable: nothing was handed over.
            Unconfirmed: it was, but no answer came.
        """
        all_headers = {**(headers or {}), H_MSG_ID: message_id or secrets.token_hex(8)}
        answer, _ = await self._exchange(subject, data, all_headers)
        try:
            ack = api_answer(answer.data)
        except ApiError as error:
            raise refusal(error) from None
        return Stored(int(ack["seq"]), bool(ack.get("duplicate")))

    async def replace(self, stream: str, subject: str, data: bytes, revision: int) -> int:
        """Store a subject's next message if its last one is still `revision`; return the new one.

        Args:
            stream: the stream of the subject; it is read if an acknowledgement is lost.
            subject: as `publish`.
            data: as `publish`.
            revision: the last message's sequence; 0: there is none.

        Raises:
            Conflict: the subject's last sequence is another.
            InboxFull, StoreFull, BadInput, NotAllowed, BusUnreachable, Unconfirmed: as `publish`.
        """
        message_id = secrets.token_hex(8)
        headers = {H_MSG_ID: message_id, H_EXPECTED_REVISION: str(revision)}
        answer, repeated = await self._exchange(subject, data, headers)
        try:
            return int(api_answer(answer.data)["seq"])
        except ApiError as error:
            if error.code != WRONG_REVISION:
                raise refusal(error) from None
        latest = await self.last(stream, subject) if repeated else None
        if latest and latest.headers.get(H_MSG_ID) == message_id:
            return latest.seq  # the acknowledgement of our own write was lost
        raise Conflict

    async def _exchange(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None = None
    ) -> tuple[Message, bool]:
        """Request with retries; return the answer, and whether an earlier try may have arrived."""
        return await self._tried(
            lambda link, timeout: link.request(subject, data, headers, timeout)
        )

    async def _tried(self, ask: Callable[[Link, float], Awaitable[_T]]) -> tuple[_T, bool]:
        give_up = time.monotonic() + CALL_TIMEOUT_S
        handed_over = False
        for pause in itertools.chain(_BACKOFF_S, itertools.repeat(_BACKOFF_S[-1])):
            try:
                link = await self._live(within_s=give_up - time.monotonic())
                timeout = max(0.05, min(_TRY_TIMEOUT_S, give_up - time.monotonic()))
                return await ask(link, timeout), handed_over
            except NoResponders:
                failure: AgentbusError = BusUnreachable(
                    "The bus server answers, but its streams are missing. Nothing was stored.",
                    hint="Run `agentbus server start`.",
                )
                await self._repair()
            except (TimeoutError, LinkLost):
                handed_over = True
                failure = BusUnreachable(_GONE)
            except BusUnreachable as error:
                failure = error
            if time.monotonic() + pause >= give_up:
                raise await self._unconfirmed() if handed_over else failure
            await asyncio.sleep(pause)
        raise AssertionError  # the chain of pauses has no end

    async def _repair(self) -> None:
        repair, self.on_missing = self.on_missing, None
        try:
            with contextlib.suppress(AgentbusError, TimeoutError):
                async with asyncio.timeout(_TRY_TIMEOUT_S):
                    if repair:
                        await repair()
        finally:
            self.on_missing = self.on_missing or repair

    async def _unconfirmed(self) -> Unconfirmed:
        """Say what is known about a server that took a message and did not answer."""
        try:
            async with asyncio.timeout(_WHY_TIMEOUT_S):
                link = await self._live(may_start=False)
                await link.request(f"{_API}.INFO", timeout=_WHY_TIMEOUT_S)
        except (TimeoutError, LinkLost, NoResponders, AgentbusError):
            return Unconfirmed()
        return Unconfirmed(
            "The bus server answers but confirms nothing, as it does when its disk is full: "
            "it is not known whether this was stored.",
            hint="Free some disk space, run `agentbus server stop` and `agentbus server start`, "
            "then call again with the same request_id.",
        )

    async def send(self, subject: str, data: bytes, headers: Mapping[str, str]) -> None:
        """Hand over what may be lost, such as a sign of life. Never for a task.

        It does not start the embedded server: a session that only lives on must not undo
        `agentbus server stop`.

        Raises:
            BusUnreachable: there is no connection.
        """
        link = await self._live(may_start=False)
        try:
            await link.send(subject, data, headers)
        except LinkLost:
            raise BusUnreachable from None

    async def api(self, call: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call JetStream's API, such as `STREAM.INFO.AGENTBUS_TASKS`.

        Raises:
            ApiError: the server refused; its `code` says why.
            BusUnreachable, Unconfirmed, NotAllowed: as `publish`.
        """
        data = json.dumps(body).encode() if body is not None else b""
        answer, _ = await self._exchange(f"{_API}.{call}", data)
        return api_answer(answer.data)

    async def pull(self, stream: str, consumer: str, batch: int) -> list[Delivery]:
        """Take up to `batch` messages that wait now; an empty list means that none does.

        Raises:
            BusUnreachable, NotAllowed: as `publish`.
            TimeoutError: the consumer gave no answer: everything it may hand out is handed out.
        """
        subject = f"{_API}.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        request = json.dumps({"batch": batch, "no_wait": True}).encode()
        try:
            try:
                pulled = await (await self._live()).pull(subject, request, batch, _PULL_TIMEOUT_S)
            except LinkLost:  # what a dead connection may have taken is offered again
                pulled = await (await self._live()).pull(subject, request, batch, _PULL_TIMEOUT_S)
        except LinkLost:
            raise BusUnreachable(_GONE) from None
        except NoResponders:
            raise ApiError(NO_SUCH_CONSUMER, f"no consumer {consumer}") from None
        return [delivery(stream, message) for message in pulled]

    async def finish(self, taken: Delivery) -> None:
        """Have a message never offered again; return once the server has confirmed it.

        A work queue no longer stores it then, another stream does.

        Raises:
            BusUnreachable, Unconfirmed: as `publish`.
        """
        await self._exchange(taken.token, b"+ACK")

    async def extend(self, taken: Delivery) -> None:
        """Say that the message is still worked on. Not confirmed; said again anyway."""
        await self.send(taken.token, b"+WPI", {})

    async def give_back(self, taken: Delivery, after_s: float = 0) -> None:
        """Have the message offered again, at once or later; return once that is confirmed.

        Raises:
            BusUnreachable, Unconfirmed: as `publish`.
        """
        later = f' {{"delay": {int(after_s * 1e9)}}}' if after_s > 0 else ""
        await self._exchange(taken.token, b"-NAK" + later.encode())

    async def last(self, stream: str, subject: str) -> Found | None:
        """Return the last message stored on `subject`, which may hold wildcards; None if none is.

        Raises:
            BusUnreachable, NotAllowed: as `publish`.
        """
        try:
            answer, _ = await self._exchange(f"{_API}.DIRECT.GET.{stream}.{subject}", b"")
        except Unconfirmed:
            raise BusUnreachable(_GONE) from None
        return None if answer.status == "404" else found(answer)

    async def many(self, stream: str, request: Mapping[str, Any]) -> list[Found]:
        """Return the messages that a batched direct get names (NATS ADR-31).

        Raises:
            ApiError: the server refused, for instance over 1,024 subjects at once (413).
            BusUnreachable, NotAllowed: as `publish`.
        """
        subject, body = f"{_API}.DIRECT.GET.{stream}", json.dumps(request).encode()
        try:
            (messages, end), _ = await self._tried(
                lambda link, timeout: link.stream(subject, body, timeout)
            )
        except Unconfirmed:
            raise BusUnreachable(_GONE) from None
        if end.status not in {"204", "404"}:
            raise ApiError(int(end.status), end.headers.get("Description", "no reason given"))
        return [found(message) for message in messages]

    @contextlib.asynccontextmanager
    async def subscribed(
        self, subject: str, arrived: Callable[[Message | None], None]
    ) -> AsyncGenerator[None, None]:
        """Call `arrived` for every message on `subject`, also after a lost connection.

        It is called with None when the connection ends: something may have been missed.
        """
        number = next(self._numbers)
        end = await self._subscribe(await self._live(), subject, arrived)
        self._subscriptions[number] = (subject, arrived, end)
        try:
            yield
        finally:
            _, _, end = self._subscriptions.pop(number)
            await end()

    @staticmethod
    async def _subscribe(
        link: Link, subject: str, arrived: Callable[[Message | None], None]
    ) -> Callable[[], Awaitable[None]]:
        try:
            end = await link.subscribe(subject, arrived)
            # Interest must be known to the server before anything is done that it should see.
            await link.flush()
        except LinkLost:
            raise BusUnreachable(_GONE) from None
        return end

    async def reconnected(self, within_s: float) -> bool:
        """Wait until there is a connection again, without starting a server."""
        give_up = time.monotonic() + within_s
        for pause in itertools.chain(_BACKOFF_S, itertools.repeat(_BACKOFF_S[-1])):
            with contextlib.suppress(AgentbusError):
                await self._live(may_start=False)
                return True
            if self._closed or time.monotonic() + pause >= give_up:
                return False
            await asyncio.sleep(pause)
        raise AssertionError  # the chain of pauses has no end

    async def _live(self, *, may_start: bool = True, within_s: float = CALL_TIMEOUT_S) -> Link:
        """Return a connection that works, opening one if need be."""
        if self._link and self._link.alive:
            return self._link
        try:
            async with asyncio.timeout(within_s), self._opening:
                if self._link and self._link.alive:
                    return self._link
                if self._closed:
                    raise BusUnreachable("This bus was closed.", hint="Open a new one.")
                return await self._open(may_start=may_start)
        except TimeoutError:
            raise BusUnreachable("No server answered in time. Nothing was stored.") from None

    async def _open(self, *, may_start: bool) -> Link:
        """Open a connection on which everything is heard that was heard before."""
        where = await asyncio.to_thread(find_server, self.settings, may_start=may_start)
        link = await Link.open(*where)
        try:
            for number, (subject, arrived, _) in list(self._subscriptions.items()):
                end = await self._subscribe(link, subject, arrived)
                self._subscriptions[number] = (subject, arrived, end)
        except BaseException:
            await link.close()
            raise
        self._link = link
        link.on_end(self._lost)
        return link

    def _lost(self) -> None:
        for _, arrived, _ in list(self._subscriptions.values()):
            arrived(None)


# Header names; the values are checked ids, numbers and this program's own words.
H_MSG_ID: Final = "Nats-Msg-Id"
H_EXPECTED_REVISION: Final = "Nats-Expected-Last-Subject-Sequence"
