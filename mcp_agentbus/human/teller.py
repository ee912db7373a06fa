# SPDX-License-Identifier: Apache-2.0
"""Tells this user what needs a person, while a listener runs.

    teller = Teller(bus, watcher, ear, log, state.of_this_machine)
    await teller.run()
    teller.held(reason, "coder", thing)

Steps of tasks are read from the records of the bus, from where the last listener has left off; what
is held, the loop says. A person is told at most once a minute, of all that has come meanwhile, and
of each thing once. It waits for no answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from mcp_agentbus.archive.ear import Ear, next_of
from mcp_agentbus.archive.kept.sides import named, users
from mcp_agentbus.bus.address import start_no_server
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.sections.human import Human
from mcp_agentbus.config.watcher import Watcher
from mcp_agentbus.core import text
from mcp_agentbus.core.aio import note_failure
from mcp_agentbus.core.notices import Reason
from mcp_agentbus.errors import AgentbusError, BadSetup
from mcp_agentbus.human import needs
from mcp_agentbus.human.book import Bookmark, TapBook
from mcp_agentbus.human.needs import Need
from mcp_agentbus.human.tap import tap
from mcp_agentbus.store import streams, subjects
from mcp_agentbus.store.records import record_in
from mcp_agentbus.store.subjects import RESULTS
from mcp_agentbus.store.task import Record
from mcp_agentbus.wakes.facts import Waiting

#: The least time between two taps.
PAUSE: Final = timedelta(minutes=1)
# After a tap that failed it waits twice as long each time, up to this.
_PAUSE_MAX: Final = timedelta(hours=1)
# How often it is looked whether the user wants to be told, and how.
_LOOK_AGAIN_S: Final = 2.0
# How long one attempt to reach the bus takes.
_RECONNECT_S: Final = 60.0
# So long, in seconds, what waits to be told waits for what came while no listener ran.
_READS_WITHIN_S: Final = 5.0
# Records in one answer; one has up to 1 MiB.
_PAGE: Final = 50


class Teller:
    """Tells a person what needs one."""

    def __init__(
        self,
        bus: Bus,
        watcher: Watcher,
        ear: Ear,
        emit: Callable[[Mapping[str, Any]], None],
        of_this_machine: Callable[[], frozenset[str]],
    ) -> None:
        self._bus, self._watcher, self._ear, self._emit = bus, watcher, ear, emit
        self._of_this_machine = of_this_machine
        self._book = TapBook(watcher.settings.taps_file)
        #: Something has come that is to be told.
        self._new = asyncio.Event()
        #: What came while no listener ran has been read.
        self._is_read = asyncio.Event()
        #: Why what becomes of tasks is not read; empty if it is, or the bus is away.
        self._reads_not = ""
        if self._human.is_told:
            self._begin()

    @property
    def says(self) -> str:
        """Why a person is not told; empty if one is, or does not want to be."""
        if not self._human.is_told:
            return ""
        book = self._book
        if book.failures and book.waiting:
            things = text.many(book.waiting.count, "thing")
            return f"{book.taps[-1].said} {things} to be told of."
        return book.says or self._reads_not

    @property
    def _human(self) -> Human:
        return self._watcher.settings.human

    def held(self, reason: Reason, agent: str, task: Waiting) -> None:
        """Take note that a task wakes nobody."""
        self._add(needs.of_hold(reason, agent, task, datetime.now().astimezone()))

    async def run(self) -> None:
        """Tell until cancelled."""
        start_no_server()
        while True:
            human = self._human
            try:
                if human.is_told:
                    await self._while_wanted(human)
                else:
                    self._book.forget()
            except Exception as error:  # noqa: BLE001  # without it nobody would be told any more
                note_failure("teller of a person", error)
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def _while_wanted(self, human: Human) -> None:
        """Read and tell until the user wants to be told otherwise."""
        self._begin()
        self._book.save()
        async with asyncio.TaskGroup() as group:
            at_work = [group.create_task(work()) for work in (self._read_on, self._tell)]
            while human == self._human:  # noqa: ASYNC110  # it is the loop that reads it
                await asyncio.sleep(_LOOK_AGAIN_S)
            for task in at_work:
                task.cancel()

    def _begin(self) -> None:
        """Tell of what comes from now on: what has come before was told to nobody."""
        if self._book.bookmark is None:
            self._book.bookmark = Bookmark("", 1, text.now())

    async def _read_on(self) -> None:
        """Read what is stored of tasks, from where the last listener has left off."""
        while True:
            try:
                agents = users(self._watcher.settings)
                self._reads_not = ""
                while not await self._bus.reconnected(_RECONNECT_S):
                    pass
                async with self._ear.heard(agents) as written:
                    while agents == users(self._watcher.settings):
                        written.clear()
                        await self._read(agents)
                        self._is_read.set()
                        await next_of(written)
            except BadSetup as error:
                self._reads_not = f"{error.message} {error.hint}"
            except (AgentbusError, TimeoutError):
                pass  # the bus is away, of which the loop tells
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def _read(self, agents: frozenset[str]) -> None:
        """Read the records that were written since."""
        info = await streams.info(self._bus, RESULTS)
        if info is None:
            return
        stream, end = str(info["created"]), int(info["state"]["last_seq"]) + 1
        before = self._book.bookmark
        stands = Bookmark(stream, end, text.now())
        if before is None or before[:2] == stands[:2]:
            return
        # In another stream may stand what has come before as well.
        is_known = before.stream == stream
        start, since = (before.next, None) if is_known else (1, before.at)
        of_record = partial(needs.of_record, users=agents, named=self._named())
        for subject in sorted(_subjects(agents)):
            await self._read_from(subject, start, since, of_record)
        self._book.bookmark = stands
        self._book.save()

    def _named(self) -> frozenset[str]:
        """Return the agents and roles that a line may name."""
        here = self._of_this_machine()
        with suppress(BadSetup):  # doctor tells of it
            return here | named(self._watcher.settings)
        return here

    async def _read_from(
        self,
        subject: str,
        start: int,
        since: datetime | None,
        of_record: Callable[[Record], Need | None],
    ) -> None:
        stored = self._bus.stored(RESULTS, subject, start=start, page=_PAGE)
        async with aclosing(stored) as pages:
            async for messages in pages:
                for message in messages:
                    record = record_in(message)
                    if record:
                        self._book.settle(record)
                    if record and (since is None or message.stored_at >= since):
                        self._add(of_record(record))

    def _add(self, need: Need | None) -> None:
        if need and self._human.is_told and need.kind in self._human.on and self._book.add(need):
            self._new.set()

    async def _tell(self) -> None:
        """Tell what waits as soon as it may be told, with what came while no listener ran."""
        with suppress(TimeoutError):  # the bus is away
            async with asyncio.timeout(_READS_WITHIN_S):
                await self._is_read.wait()
        while True:
            self._new.clear()
            if not self._book.waiting:
                await self._new.wait()
                continue  # what has come may be settled by then
            if (pause_s := self._pause_s()) > 0:
                await asyncio.sleep(min(pause_s, _RECONNECT_S))  # clocks are set, laptops sleep
                continue
            taken = self._book.take(datetime.now(UTC))
            try:
                tapped = await tap(self._human, taken.line, self._watcher.settings.environ)
            except BaseException:
                self._book.ended(taken, is_told=False, said="It was broken off.")
                raise
            self._book.ended(taken, **tapped._asdict())
            self._emit({"told": taken.count} if tapped.is_told else {"error": tapped.said})

    def _pause_s(self) -> float:
        """Return for how long nothing may be told, in seconds; 0 or less: it may be now."""
        now = datetime.now(UTC)
        due = now
        last = self._book.last_at
        if last and last <= now:  # else the clock was set back meanwhile
            due = last + min(PAUSE * 2 ** min(self._book.failures, 10), _PAUSE_MAX)
        if hours := self._human.quiet_hours:
            due = hours.over(max(due, now), datetime.now().astimezone().tzinfo)
        return (due - now).total_seconds()


def _subjects(agents: frozenset[str]) -> set[str]:
    """Return where the records stand that concern these agents, as sender or as addressee."""
    sides = [(each, "*") for each in agents] + [("*", each) for each in agents]
    return {subjects.record_subject(*side, "*") for side in sides}
