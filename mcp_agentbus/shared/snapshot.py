# SPDX-License-Identifier: Apache-2.0
"""A stream as the server writes it down, with its consumers: taken from one, given to another.

    async with snapshot.taken(bus, "AGENTBUS_TASKS") as taken:
        async for part in taken.parts():
            file.write(part)

What it holds only servers read. Parts come as fast as they are asked for; not more than 8 MiB are
ever under way (`STREAM.SNAPSHOT` and `STREAM.RESTORE` of JetStream's API, see NATS ADR-2 and 44).
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Garbled, Message, api_answer
from mcp_agentbus.errors import BusUnreachable, NoAnswer, NobodyListens, Refused

_API: Final = "$JS.API.STREAM"
# A server flushes what it has to the disk before it begins, and a restored part after it came.
_WITHIN_S: Final = 30.0
# Several servers that choose who answers for a stream hear nothing for seconds.
_UNHEARD_S: Final = (0.1, 0.2, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0)
# Bytes of a part that is taken.
_PART: Final = 128 << 10
#: Bytes of a part that is given: a server on a slow disk has to store what is in one within 5 s, or
#: it gives up; and packed as they are, 16 KiB may be a thousand messages.
GIVEN: Final = 16 << 10
# Parts of a snapshot in a second; what floods a subject otherwise is not heard for a while.
_ALL: Final = 1 << 30
_COMPLETE: Final = ("", "204")


class Taken:
    """A snapshot that is on its way here."""

    def __init__(
        self, bus: Bus, answer: Mapping[str, Any], arrived: asyncio.Queue[Message | None]
    ) -> None:
        self._bus, self._arrived = bus, arrived
        #: How the stream is set up, and what it holds, as the server says it.
        self.config: dict[str, Any] = dict(answer["config"])
        self.state: dict[str, Any] = dict(answer["state"])

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """Yield it, part by part.

        Raises:
            Refused: the server could not read all of it.
            BusUnreachable: something of it was lost on the way.
        """
        count, is_last = 0, False
        while (part := await self._next()).data:
            count += 1
            # $JS.SNAPSHOT.ACK.<stream>.<id>.<bytes>.<number>; the last has none
            if is_last or (part.reply and part.reply.rpartition(".")[2] != str(count)):
                raise _lost()
            yield part.data
            is_last = not part.reply
            if part.reply:
                await self._take(part.reply)
        if part.status not in _COMPLETE:
            why = part.headers.get("Description", "no reason given")
            raise Refused(
                f"The bus server has ended its snapshot of {self.config['name']}: {why}.",
                hint="Run it again; if that changes nothing, see the server's log.",
            )

    async def _take(self, reply: str) -> None:
        """Say that a part was taken, so that another comes."""
        try:
            await self._bus.send(reply, b"", {})
        except BusUnreachable:
            raise _lost() from None

    async def _next(self) -> Message:
        try:
            async with asyncio.timeout(_WITHIN_S):
                part = await self._arrived.get()
        except TimeoutError:
            raise _lost() from None
        if part is None:
            raise _lost()
        return part


@asynccontextmanager
async def taken(bus: Bus, stream: str) -> AsyncGenerator[Taken, None]:
    """Have a server begin a snapshot of a stream.

    Raises:
        ApiError: it refused.
        BusUnreachable, NotAllowed: as `Bus.publish`.
    """
    arrived: asyncio.Queue[Message | None] = asyncio.Queue()
    place = f"agentbus-snapshot.{secrets.token_hex(16)}"
    async with bus.subscribed(place, arrived.put_nowait, most=_ALL):
        request = {"deliver_subject": place, "no_consumers": False, "chunk_size": _PART}
        yield Taken(bus, await _asked(bus, f"{_API}.SNAPSHOT.{stream}", request), arrived)


class Given:
    """A snapshot that is on its way to a server, which has no stream of that name yet."""

    def __init__(self, bus: Bus, place: str) -> None:
        self._bus, self._place = bus, place

    async def put(self, part: bytes) -> None:
        """Hand over the next part; return once the server has stored it.

        Raises:
            ApiError: it refused.
            BusUnreachable: it does not answer any more.
        """
        if answer := await _answer(self._bus, self._place, part):
            _read(answer)

    async def complete(self) -> dict[str, Any]:
        """Say that this was all; return how the stream stands then, as `STREAM.INFO` says it.

        Raises: as `put`.
        """
        return _read(await _answer(self._bus, self._place, b""))


async def given(bus: Bus, config: Mapping[str, Any], state: Mapping[str, Any]) -> Given:
    """Have a server take a snapshot for a stream that it makes by `config`.

    Raises:
        ApiError: it refused: there is such a stream, or no room.
        BusUnreachable, NotAllowed: as `Bus.publish`.
    """
    request = {"config": dict(config), "state": dict(state)}
    answer = await _asked(bus, f"{_API}.RESTORE.{config['name']}", request)
    return Given(bus, str(answer["deliver_subject"]))


async def _asked(bus: Bus, call: str, request: Mapping[str, Any]) -> dict[str, Any]:
    return _read(await _answer(bus, call, json.dumps(request).encode()))


async def _answer(bus: Bus, subject: str, data: bytes) -> bytes:
    """Ask the server until somebody hears it, and then no more: two snapshots would come as one.

    The server of three that is to take a part may be another one than ours, which learns a moment
    later who listens there.
    """
    for pause_s in (*_UNHEARD_S, None):
        try:
            return (await bus.request(subject, data, _WITHIN_S)).data
        except NobodyListens:
            if pause_s is None:
                raise _lost() from None
        except NoAnswer:
            raise _lost() from None
        await asyncio.sleep(pause_s)
    raise AssertionError  # the last pause is none


def _read(answer: bytes) -> dict[str, Any]:
    try:
        return api_answer(answer)
    except Garbled:
        raise _lost() from None


def _lost() -> BusUnreachable:
    return BusUnreachable(
        "The bus server went away, or part of a stream was lost on the way.",
        hint="Run it again.",
    )
