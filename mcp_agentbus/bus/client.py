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

import contextlib
import json
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

from mcp_agentbus.bus import budget, embedded
from mcp_agentbus.bus.connection import API, Link, NoResponders
from mcp_agentbus.bus.reconnect import Reconnecting
from mcp_agentbus.bus.replies import (
    ANSWER_MAX_BYTES,
    NO_SUCH_CONSUMER,
    WRONG_REVISION,
    ApiError,
    Conflict,
    Delivery,
    Found,
    Message,
    NotNow,
    Stored,
    api_answer,
    api_result,
    delivery,
    found,
    found_if_any,
    has_forgotten,
    refusal,
    rest_of,
    stored,
    untaken,
)
from mcp_agentbus.config.machine_key import unforeseen
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.errors import AgentbusError, BusUnreachable, NoAnswer

_T = TypeVar("_T")
# Header names; the values are checked ids, numbers and this program's own words.
H_MSG_ID: Final = "Nats-Msg-Id"
H_STREAM: Final = "Nats-Expected-Stream"
H_EXPECTED_REVISION: Final = "Nats-Expected-Last-Subject-Sequence"
_PAGE: Final = 1_000  # messages that are asked for at a time
# Said of a message that is gone: amid others in whatever words, before or behind them in these.
_NO_MESSAGE: Final = 10043
_GONE: Final = {"10057 no message found", "10057 stream store EOF"}


class Bus(Reconnecting):
    """JetStream's verbs, over a connection that mends itself.

    `async with Bus(settings) as bus` connects at the first call, `Bus.connect()` at once.
    """

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, settings: Settings | None = None) -> AsyncGenerator[Bus, None]:
        """Connect to the bus that the settings name; the embedded one is started if need be.

        It is tried for as long as a call is: a server may be just starting.

        Raises:
            BusUnreachable, NotAllowed, BadSetup: there is no connection to be had.
        """
        async with cls(settings) as bus:
            await bus._connected()
            yield bus

    @classmethod
    @contextlib.asynccontextmanager
    async def ephemeral(cls) -> AsyncGenerator[Bus, None]:
        """Open a private bus in a temporary folder that goes when the block ends."""
        with embedded.ephemeral() as settings:
            async with cls.connect(settings) as bus:
                yield bus

    async def publish(
        self,
        subject: str,
        data: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        message_id: str | None = None,
        stream: str = "",
    ) -> Stored:
        """Store a message; return once the server has acknowledged it.

        It is tried again with the same id while the call's `budget` lasts, so it is stored once
        at most.

        Args:
            subject: a stream's subject.
            data: at most the server's `max_payload`, 1 MB.
            headers: strings only.
            message_id: a second message to which this user has given this id on this machine is
                acknowledged and not stored; made up if not given.
            stream: which is to keep it, and no other that somebody has made for this subject.

        Raises:
            BadSetup: the secret by which ids are made cannot be kept.
            InboxFull, StoreFull, TooLarge: the server takes no more, or none of that size.
            NotAllowed: the server's permissions forbid it.
            BusUnreachable: nothing was handed over.
            Unconfirmed: it was, but no answer came.
        """
        # Of what others may know, as a task's id, the server is given something that they do not.
        secret_in = self.settings.state_dir
        own = unforeseen(secret_in, message_id) if message_id else secrets.token_hex(8)
        expected = {H_STREAM: stream} if stream else {}
        all_headers = {**(headers or {}), **expected, H_MSG_ID: own}
        ack, _ = await self._stored(subject, data, all_headers)
        if isinstance(ack, ApiError):
            raise refusal(ack, is_shared=bool(self.settings.url))
        return ack

    async def replace(self, stream: str, subject: str, data: bytes, revision: int) -> int:
        """Store a subject's next message if its last one is still `revision`; return the new one.

        Args:
            stream: the stream of the subject; it is read if an acknowledgement is lost.
            subject: as `publish`.
            data: as `publish`.
            revision: the last message's sequence; 0: there is none.

        Raises:
            Conflict: the subject's last sequence is another.
            InboxFull, StoreFull, TooLarge, NotAllowed, BusUnreachable, Unconfirmed: as `publish`.
        """
        message_id = secrets.token_hex(8)
        headers = {H_MSG_ID: message_id, H_EXPECTED_REVISION: str(revision), H_STREAM: stream}
        ack, repeated = await self._stored(subject, data, headers)
        if not isinstance(ack, ApiError):
            return ack.seq
        if ack.code != WRONG_REVISION:
            raise refusal(ack, is_shared=bool(self.settings.url))
        latest = await self.last(stream, subject) if repeated else None
        if latest and latest.headers.get(H_MSG_ID) == message_id:
            return latest.seq  # the acknowledgement of our own write was lost
        raise Conflict

    async def _stored(
        self, subject: str, data: bytes, headers: Mapping[str, str]
    ) -> tuple[Stored | ApiError, bool]:
        """Store a message; where a stream refuses that somebody has changed, it is set up anew."""
        answer = await self._asked(subject, data, headers, stored, stores=True)
        if isinstance(answer[0], ApiError) and answer[0].code != WRONG_REVISION:
            await self._revive(refusal(answer[0]))
            with contextlib.suppress(AgentbusError, TimeoutError):
                await self._repair()
            answer = await self._asked(subject, data, headers, stored, stores=True)
        return answer

    async def api(self, call: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call JetStream's API, such as `STREAM.INFO.AGENTBUS_TASKS`.

        A message that is to be deleted and is there no more counts as deleted: an earlier try may
        have done it, whose answer was lost.

        Raises:
            ApiError: the server refused; its `code` says why.
            BusUnreachable, Unconfirmed, NotAllowed: as `publish`.
        """
        data = json.dumps(body).encode() if body is not None else b""
        stores = "DELETE" in call  # what is asked or made another time is asked or made once
        read = partial(api_result, call)
        answer, _ = await self._asked(f"{API}.{call}", data, None, read, stores=stores)
        if isinstance(answer, ApiError):
            is_gone = answer.code == _NO_MESSAGE or f"{answer.code} {answer.description}" in _GONE
            if ".MSG.DELETE." in call and is_gone:
                return {}
            raise answer
        return answer

    async def _asked(
        self,
        subject: str,
        data: bytes,
        headers: Mapping[str, str] | None,
        read: Callable[[dict[str, Any]], _T],
        *,
        stores: bool,
    ) -> tuple[_T | ApiError, bool]:
        """Return JetStream's answer as `read` or refusal, and whether an earlier try may be in."""

        def understood(answer: Message) -> _T | ApiError:
            try:
                return read(api_answer(answer.data))
            except NotNow:
                raise
            except ApiError as error:
                return error

        async def answered(link: Link, timeout: float) -> _T | ApiError:
            return await link.asked(subject, data, headers, timeout, understood)

        return await self._tried(answered, stores=stores)

    async def ask(self, subject: str, data: bytes, within_s: float) -> Message | None:
        """Ask whoever else is on the bus; None if nobody listens there, or answers in that time.

        Raises:
            BusUnreachable, NotAllowed: as `publish`.
        """
        with contextlib.suppress(NoAnswer):
            return await self.request(subject, data, within_s)
        return None

    async def pull(
        self, stream: str, consumer: str, batch: int, *, is_made: bool = False
    ) -> list[Delivery]:
        """Take up to `batch` messages that wait now; an empty list means that none does.

        What a lost connection may have taken is offered again. One that `is_made` is waited for.

        Raises:
            HandedOut: everything that the consumer may hand out at once is handed out.
            ApiError: there is no such consumer.
            BusUnreachable, NotAllowed: as `publish`.
        """

        async def taken(link: Link, timeout: float) -> list[Delivery]:
            try:
                pulled = await link.pull(stream, consumer, batch, timeout)
            except NoResponders:
                if is_made:
                    raise
                raise ApiError(NO_SUCH_CONSUMER) from None
            return [delivery(stream, message) for message in pulled]

        return (await self._tried(taken, stores=False))[0]

    async def handed_out(self, stream: str, consumer: str, subject: str) -> list[Delivery]:
        """Return what a consumer has handed out and nobody has finished, oldest first.

        Whoever took it: it can be finished, extended and given back by each delivery. A server that
        was killed may have forgotten the last; then it is offered again.

        Args:
            stream: a work queue, which no longer stores what was finished.
            consumer: one that is there, or not.
            subject: the consumer's own.

        Raises: as `many`.
        """
        try:
            info = await self.api(f"CONSUMER.INFO.{stream}.{consumer}")
        except ApiError as error:
            if error.code == NO_SUCH_CONSUMER:
                return []
            raise
        last, count, out = info["delivered"], int(info["num_ack_pending"]), list[Delivery]()
        if not count:
            return out
        start, page = int(info["ack_floor"]["stream_seq"]) + 1, min(count, _PAGE)
        stored = self.stored(stream, subject, start=start, page=page)
        async with contextlib.aclosing(stored) as pages:
            async for messages in pages:
                offered = [message for message in messages if message.seq <= last["stream_seq"]]
                for message in offered:
                    # Made up: the server looks for the stream's sequence among what it has handed
                    # out, and takes any sequence of the consumer's up to its last.
                    place = f"{message.seq}.{last['consumer_seq']}"
                    token = f"$JS.ACK.{stream}.{consumer}.1.{place}.0.0"
                    out.append(untaken(stream, message, token, int(info["num_pending"])))
                if len(offered) < len(messages) or len(out) >= count:
                    break
        return out

    async def finish(self, taken: Delivery) -> None:
        """Have a message never offered again; return once the server has confirmed it.

        A work queue no longer stores it then, another stream does. One that the server has
        forgotten is offered again, and finished by whoever takes it then.

        Raises:
            BusUnreachable, Unconfirmed: as `publish`.
        """
        await self._settle(taken, b"+ACK")

    async def extend(self, taken: Delivery) -> None:
        """Say that the message is still worked on. Not confirmed; said again anyway."""
        if taken.token:
            await self.send(taken.token, b"+WPI", {})

    async def give_back(self, taken: Delivery, after_s: float = 0) -> None:
        """Have the message offered again, at once or later; return once that is confirmed.

        A server that is killed within a tenth of a second of it may forget that: then the message
        is offered once the consumer's `ack_wait` has passed.

        Raises:
            BusUnreachable, Unconfirmed: as `publish`.
        """
        later = b'-NAK {"delay": %d}' % max(1, after_s * 1e9)
        # What is to be offered at once the server keeps in memory only, what is to be offered later
        # on the disk; but the latter takes it 10 ms.
        if taken.token and after_s <= 0:
            with contextlib.suppress(BusUnreachable):  # the next tries for as long as a call lasts
                await self.send(taken.token, later, {})
        await self._settle(taken, later if after_s > 0 else b"-NAK")

    async def _settle(self, taken: Delivery, word: bytes) -> None:
        """Say what is to become of a message, until that is confirmed or nobody keeps it any more.

        Where its consumer was lost, the one that is made anew offers the message again.
        """

        async def settled(link: Link, timeout: float) -> None:
            try:
                await link.request(taken.token, word, timeout=timeout)
            except (NoResponders, TimeoutError):
                if not await self._is_lost(link, taken):
                    raise  # it is only just beginning, or slow

        if taken.token:
            await self._tried(settled, stores=True)

    @staticmethod
    async def _is_lost(link: Link, taken: Delivery) -> bool:
        """Tell whether its server has forgotten a message, as one that was killed: it is silent."""
        left_s = budget.current().left_s
        answer = await link.request(f"{API}.CONSUMER.INFO.{taken.consumer}", timeout=left_s)
        return has_forgotten(answer, taken)

    async def last(self, stream: str, subject: str) -> Found | None:
        """Return the last message stored on `subject`, which may hold wildcards; None if none is.

        Raises:
            BusUnreachable, NotAllowed: as `publish`.
        """

        async def read(link: Link, timeout: float) -> Found | None:
            asked = f"{API}.DIRECT.GET.{stream}.{subject}"
            return await link.asked(asked, b"", None, timeout, found_if_any)

        return (await self._tried(read, stores=False))[0]

    async def many(self, stream: str, request: Mapping[str, Any]) -> list[Found]:
        """Return the messages that a batched direct get names (NATS ADR-31).

        Raises:
            ApiError: the server refused, for instance over 1,024 subjects at once (413).
            BusUnreachable, NotAllowed: as `publish`.
        """
        messages, rest = list[Found](), dict(request)
        while rest:
            some, rest = await self._some(stream, rest)
            messages += some
        # Of what was written between two answers the later counts.
        is_last = "multi_last" in request
        return list({each.subject: each for each in messages}.values()) if is_last else messages

    async def _some(
        self, stream: str, request: Mapping[str, Any]
    ) -> tuple[list[Found], dict[str, Any]]:
        """Return as much as is read at once, and what to ask for the rest; nothing if it is all."""
        asked = json.dumps({**request, "max_bytes": ANSWER_MAX_BYTES}).encode()

        async def read(link: Link, timeout: float) -> tuple[list[Found], dict[str, Any]]:
            subject = f"{API}.DIRECT.GET.{stream}"
            some, end = await link.stream(subject, asked, timeout, found)
            return some, rest_of(request, end, len(some)) or {}

        return (await self._tried(read, stores=False))[0]

    async def stored(
        self, stream: str, subject: str, *, start: int = 1, page: int = _PAGE
    ) -> AsyncGenerator[list[Found], None]:
        """Yield the stored messages of a subject, which may hold wildcards, oldest first, by pages.

        Args:
            stream: the stream of the subject.
            subject: whose messages.
            start: the first sequence to look at.
            page: messages in a page at most; fewer where they are large, and in the last, which
                may be empty.

        Raises: as `many`.
        """
        while True:
            request = {"seq": start, "batch": page, "next_by_subj": subject}
            messages, rest = await self._some(stream, request)
            yield messages
            if not rest and len(messages) < page:
                return
            start = messages[-1].seq + 1
