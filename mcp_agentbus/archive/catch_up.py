# SPDX-License-Identifier: Apache-2.0
"""Read what the bus has stored of tasks since the archive was last brought up to date.

    >>> await catch_up(bus, archive, ["*"])
    Extent(is_whole=True, since=None)

Every step of a task is in one of its three records, and those in one stream, of which the archive
knows how far it has read: so nothing is missed while nobody reads, and whoever asks the archive
first has it catch up. What is new comes first, then what is older, the latest before the oldest.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from mcp_agentbus.archive.entries import change_in
from mcp_agentbus.archive.file import Archive, Reached
from mcp_agentbus.archive.kept.removed import Removed
from mcp_agentbus.archive.kept.trim import trim
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Found, server_time
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.store import streams
from mcp_agentbus.store.queries import read_back
from mcp_agentbus.store.queries.clock import has_come
from mcp_agentbus.store.records import record_in, sent_in
from mcp_agentbus.store.steps import first_record
from mcp_agentbus.store.subjects import RESULTS

# Of the stream so many numbers are looked through at a time, of which few may still be there: a
# record that was written anew has left its old one.
_WINDOW: Final = 500
_WINDOW_MAX: Final = 16 * _WINDOW
# Records in one transaction; one has up to 1 MiB.
_PAGE: Final = 200


@dataclass(frozen=True)
class Extent:
    """How far back the records have been read."""

    is_whole: bool = True
    #: The time of the oldest that was read, where there are older ones.
    since: datetime | None = None
    #: What was read once, and then removed.
    removed: tuple[Removed, ...] = ()

    def to_be_told(self, since: datetime | None = None, *, is_open: bool = False) -> Extent:
        """Return it for one who looks back until then, or for what is not over alone."""
        told = (each for each in self.removed if since is None or since <= each.until)
        return replace(self, removed=tuple(each for each in told if each.unfinished or not is_open))


def wanted(agents: Collection[str]) -> tuple[str, ...]:
    """Return the subjects of the records that concern these agents and roles; `*` is everybody."""
    if "*" in agents:
        return ("agentbus.*.*.*.*",)
    sides = ((f"agentbus.{each}.*.*.*", f"agentbus.*.*.{each}.*") for each in sorted(agents))
    return tuple(subject for both in sides for subject in both)


async def catch_up(
    bus: Bus, archive: Archive, agents: Collection[str], *, within_s: float | None = None
) -> Extent:
    """Bring the archive up to date with what the bus keeps.

    Args:
        bus: where the records are.
        archive: what is to know them.
        agents: whose records are read, as sender or addressee, roles by their inbox; `*`: all.
        within_s: the older ones are read for as long as that, the rest by the next call.

    Raises:
        ArchiveBroken: it cannot be written.
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    info = await streams.info(bus, RESULTS)
    if info is None:
        return Extent()
    stop_at = time.monotonic() + within_s if within_s is not None else None
    stream = _Stream(str(info["created"]), info["state"]["first_seq"], info["state"]["last_seq"])
    archive.stream = stream.made
    extent = Extent()
    for subject in wanted(agents):
        reading = _Reading(bus, archive, stream, subject)
        await reading.newer()
        if not await reading.older(stop_at):
            extent = Extent(is_whole=False, since=reading.oldest)
    there = None
    with suppress(LookupError, ValueError):  # of what the server does not say nothing is concluded
        there = server_time(str(info["ts"]))
    await asyncio.to_thread(trim, archive, there, stream.first)
    return replace(extent, removed=archive.removed())


@dataclass(frozen=True)
class _Stream:
    """The stream of records as it stands."""

    #: When it was made: one that is made anew counts from 1 again.
    made: str
    first: int
    last: int


class _Reading:
    """How far the records of one subject have been read."""

    def __init__(self, bus: Bus, archive: Archive, stream: _Stream, subject: str) -> None:
        self._bus, self._archive, self._stream = bus, archive, stream
        # Of one of which nothing has been read the latest come first, too.
        begin = max(1, stream.first, stream.last + 1 - _WINDOW)
        self._reached = archive.reached(stream.made, subject) or Reached(subject, begin, begin)
        self.oldest: datetime | None = None

    async def newer(self) -> None:
        """Read all that was stored since; of what is cut off the rest stays new.

        So does what comes behind the last that was read, whatever the stream says of its end: that
        is its leader's word, and who is asked for records may be a moment behind.
        """
        begun = self._reached.low == self._reached.high
        async with aclosing(self._pages(self._reached.high, None)) as pages:
            async for messages in pages:
                if messages:
                    self.oldest = self.oldest or (messages[0].stored_at if begun else None)
                    await self._note(messages, high=messages[-1].seq + 1)

    async def older(self, stop_at: float | None) -> bool:
        """Read what was stored before, until then; tell whether all of it is read."""
        window = _WINDOW
        while (low := self._reached.low) > max(self._stream.first, 1):
            if stop_at is not None and time.monotonic() > stop_at:
                return False
            start = max(1, low - window)
            async with aclosing(self._pages(start, low)) as pages:
                read = [message async for messages in pages for message in messages]
            for at in range(0, len(read), _PAGE):
                await self._note(read[at : at + _PAGE])
            await self._note([], low=start)
            self.oldest = read[0].stored_at if read else self.oldest
            window = min(2 * window, _WINDOW_MAX) if len(read) < _WINDOW / 2 else _WINDOW
        return True

    async def _pages(self, start: int, end: int | None) -> AsyncGenerator[list[Found], None]:
        """Yield the messages from `start` on, before `end` if there is one."""
        stored = self._bus.stored(RESULTS, self._reached.wanted, start=start, page=_PAGE)
        async with aclosing(stored) as pages:
            async for messages in pages:
                yield [each for each in messages if end is None or each.seq < end]
                if end is not None and messages and messages[-1].seq >= end:
                    return

    async def _note(
        self, messages: list[Found], *, low: int | None = None, high: int | None = None
    ) -> None:
        changes = [change for message in messages if (change := change_in(message))]
        before = self._reached
        self._reached = Reached(
            before.wanted, before.low if low is None else low, high or before.high
        )
        if changes or self._reached != before:
            await asyncio.to_thread(
                self._archive.note, changes, self._reached, of=self._stream.made
            )
        if lacking := self._archive.lacking(changes):
            for message in messages:
                with suppress(AgentbusError):  # then the beginning has to do
                    await self._read_request(message, lacking)

    async def _read_request(self, message: Found, lacking: set[tuple[str, str, str]]) -> None:
        """Write down the whole text of a task, of which its sender keeps the beginning."""
        sent, record = sent_in(message), record_in(message)
        of = first_record(sent) if sent and not sent.closed else record
        if of is None or of.ended or (of.owner, of.inbox, of.task_id) not in lacking:
            return
        if sent and sent.deliver_at and not await has_come(self._bus, sent.deliver_at):
            return  # it is not in its inbox yet
        seq = sent.seq if sent else 0  # of one that is done there a whole lane would be read
        there = read_back.find_at(self._bus, of, seq) if seq else read_back.find(self._bus, of)
        if stored := await there:
            whose = of.owner, of.inbox, of.task_id
            await asyncio.to_thread(self._archive.note_request, *whose, stored[0].body)
