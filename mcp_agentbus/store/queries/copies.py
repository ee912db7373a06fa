# SPDX-License-Identifier: Apache-2.0
"""A copy of what a stream holds, of which only what is new is read again.

    >>> copy = Copy(AGENTS, "agentbus.*.profile", decode)
    >>> (await copy.read(bus)).values()     # 1,000 messages: 30 ms
    >>> (await copy.read(bus)).values()     # one answer that there is none: 1 ms

For streams that keep the last message of each subject, and which few change. It is never older than
what the server had when it was asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar
from weakref import WeakKeyDictionary

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import NO_SUCH_STREAM, ApiError, Found
from mcp_agentbus.core.aio import both

_T = TypeVar("_T")
# Of more subjects nothing is kept: whoever floods the bus would fill the memory of all who look.
_KEPT_MAX: Final = 10_000
# When the oldest message of none was stored, as the server says it.
_NEVER: Final = "0001-01-01T00:00:00Z"
# Of several servers the one that is asked for messages may be so long behind the one that counts
# them, in seconds: milliseconds, but on a machine that is busy. What has not come then was removed.
_BEHIND_S: Final = 5.0


@dataclass
class _Held(Generic[_T]):
    """What was read on one connection, of a stream that was created at one time."""

    connection: int
    created: str
    #: All up to this sequence has been read.
    through: int = 0
    values: dict[str, _T] = field(default_factory=dict)
    seqs: dict[str, int] = field(default_factory=dict)
    #: The last sequence of which the server has told, and since when; monotonic.
    told: tuple[int, float] = (0, 0.0)

    def add(self, messages: Iterable[Found], decode: Callable[[Found], _T]) -> None:
        for message in messages:
            if message.seq > self.seqs.get(message.subject, 0):
                self.seqs[message.subject] = message.seq
                self.values[message.subject] = decode(message)
            self.through = max(self.through, message.seq)

    def note_last(self, last: int, *, is_behind: bool) -> None:
        """Note which is the last sequence; what does not come up to there was removed.

        Args:
            last: by the server that counts.
            is_behind: who is asked for messages may be another one; then it is waited for.
        """
        seq, since = self.told
        if not is_behind:
            self.through = max(self.through, last)
        elif seq != last:
            self.told = last, time.monotonic()
        elif time.monotonic() - since > _BEHIND_S:
            self.through = max(self.through, last)

    def is_whole(self, bus: Bus, info: Mapping[str, Any]) -> bool:
        """Tell whether it is what is stored, by the server's numbers.

        Once all up to the last sequence was read, it has what is stored and what was removed since:
        as many messages as are stored means that nothing was.
        """
        state = info["state"]
        return (
            self.connection == bus.connections
            and self.created == info["created"]
            and state["last_seq"] <= self.through
            and state["messages"] == len(self.values)
        )


class Copy(Generic[_T]):
    """What a stream holds under some subjects, all of its own; made for one `Bus`.

    Args:
        stream: one that keeps one message of each subject.
        subject: all of its subjects, with wildcards.
        decode: makes of a message what is kept of it; must not fail.
    """

    def __init__(self, stream: str, subject: str, decode: Callable[[Found], _T]) -> None:
        self._stream, self._subject, self._decode = stream, subject, decode
        self._held: _Held[_T] | None = None
        # When it was created and its oldest message stored, as it was said on a connection.
        self._began: tuple[int, tuple[str, str]] = (-1, ("", ""))

    async def read(self, bus: Bus) -> dict[str, _T]:
        """Return what is stored now, by subject.

        Where it cannot be told that the copy is what is stored, all is read anew: after a lost
        connection, of a stream made anew, and where anything was removed, or has not come yet.

        Raises:
            ApiError, BusUnreachable, Unconfirmed, NotAllowed: as `Bus.many` and `Bus.api`.
        """
        held = self._held
        if held is None or not await self._is_renewed(bus, held):
            held = await self._read_anew(bus, held)
        self._held = held if len(held.values) <= _KEPT_MAX else None
        return dict(held.values)

    async def _is_renewed(self, bus: Bus, held: _Held[_T]) -> bool:
        """Add what is new; tell whether that is what is stored, or all must be read anew."""
        info, news = await both(self._info(bus), self._after(bus, held.through))
        held.add(news, self._decode)
        if held.is_whole(bus, info):
            return True
        # The numbers may be those of a moment later: all that they count is there by now.
        held.add(await self._after(bus, held.through), self._decode)
        held.note_last(info["state"]["last_seq"], is_behind=bus.is_cluster)
        return held.is_whole(bus, info)

    async def _read_anew(self, bus: Bus, before: _Held[_T] | None) -> _Held[_T]:
        info = await self._info(bus)
        held = _Held[_T](bus.connections, str(info["created"]))
        if before and (before.connection, before.created) == (held.connection, held.created):
            held.told = before.told
        held.note_last(info["state"]["last_seq"], is_behind=bus.is_cluster)
        held.add(await self._after(bus, 0), self._decode)
        return held

    async def began(self, bus: Bus) -> tuple[str, str]:
        """Return when the stream was created and its oldest message stored, in the server's words.

        Of one in which nothing is stored the latter is the first moment of all.

        Raises: as `Bus.api`.
        """
        connection, began = self._began
        return began if connection == bus.connections else _began(await self._info(bus))

    async def _info(self, bus: Bus) -> dict[str, Any]:
        call = f"STREAM.INFO.{self._stream}"
        try:
            info = await bus.api(call)
        except ApiError as error:
            if error.code != NO_SUCH_STREAM:
                raise
            await self._after(bus, 0)  # by a read it is made anew
            info = await bus.api(call)
        self._began = (bus.connections, _began(info))
        return info

    async def _after(self, bus: Bus, seq: int) -> list[Found]:
        pages = bus.stored(self._stream, self._subject, start=seq + 1)
        return [message async for page in pages for message in page]


def _began(info: Mapping[str, Any]) -> tuple[str, str]:
    return str(info["created"]), str(info["state"].get("first_ts") or _NEVER)


# By connection: they go with it.
_copies: WeakKeyDictionary[Bus, dict[str, Copy[Any]]] = WeakKeyDictionary()


def copy_of(bus: Bus, stream: str, subject: str, decode: Callable[[Found], _T]) -> Copy[_T]:
    """Return a bus's copy of a stream, the same for all who ask; see `Copy`."""
    copies = _copies.setdefault(bus, {})
    if stream not in copies:
        copies[stream] = Copy(stream, subject, decode)
    return copies[stream]
