# SPDX-License-Identifier: Apache-2.0
"""Tasks that are stored and of which their sender's side keeps no record: found, and kept.

    unkept = Unkept(bus)
    await unkept.look(["planner"])

A sender's receipt waits for its task alone; whoever is killed before the record behind it is
written leaves the task without one: nobody would keep its deadline, and its result would count as
unasked for. The task itself says what is to be kept of it. Anybody may write a sender's name, so
it is kept only where its proof shows that it was stored from this machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing, suppress
from datetime import timedelta
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import NO_SUCH_STREAM, ApiError, Found
from mcp_agentbus.core import text
from mcp_agentbus.core.aio import together
from mcp_agentbus.errors import Refused
from mcp_agentbus.store import subjects, tasks
from mcp_agentbus.store.queries import read_back
from mcp_agentbus.store.queries.clock import server_now
from mcp_agentbus.store.records import lasts, sent_in
from mcp_agentbus.store.steps import sent_of
from mcp_agentbus.store.subjects import TASKS
from mcp_agentbus.store.task import Sent, Undecodable
from mcp_agentbus.store.tasks import Kept
from mcp_agentbus.store.upkeep.stillness import Stillness

# Stored tasks in one answer, each of which may have 512 KiB.
_PAGE: Final = 100
# Of an agent that has sent thousands each look goes through so many pages more.
_PAGES: Final = 10
# By then the record of a task that was just stored stands, on a slow disk as well.
_KEPT_WITHIN: Final = timedelta(seconds=10)
# In seconds: a record is written within one store, and whoever lists tasks is not kept for long.
_SETTLED_WITHIN_S: Final = 0.5
_LOOK_AGAIN_S: Final = 0.02


class Unkept:
    """Looks again and again among what agents have sent; from where the look before has ended."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        #: From which sequence on the next look goes, by agent.
        self._next: dict[str, int] = {}
        #: When the stream was made: one that is made anew counts from the beginning.
        self._made = ""
        self._stillness = Stillness(bus, TASKS)

    async def look(self, agents: Iterable[str], pages: float = _PAGES) -> int:
        """Keep what is missing of the next so many pages of each; return of how many it was.

        Raises: as `Bus.publish`.
        """
        info = await self._stillness.look()
        if info is None:
            return 0  # whoever stores something makes it anew
        made = str(info["created"])
        if made != self._made:
            self._made, self._next = made, {}
        found, refused = 0, None
        for agent in agents:
            if self._stillness.holds_for(agent):
                continue
            try:
                found += await self._look(agent, pages)
            except Refused as error:  # that it is another account's, no other agent's waits for
                refused = error
        if refused:
            raise refused
        return found

    async def _look(self, agent: str, pages: float) -> int:
        found, start, is_all = 0, self._next.get(agent, 1), False
        subject = subjects.task_subject("*", "*", agent)
        stored = self._bus.stored(TASKS, subject, start=start, page=_PAGE)
        async with aclosing(stored) as each:
            async for messages in each:
                found += await self._keep(messages)
                if messages:
                    self._next[agent] = messages[-1].seq + 1
                pages -= 1
                if pages <= 0:
                    break
            else:
                is_all = True
        self._stillness.note(agent, is_still=is_all)
        return found

    async def _keep(self, messages: Sequence[Found]) -> int:
        """Keep what is missing of these tasks; return of how many it was."""
        stored = [sent for message in messages if (sent := self._of(message))]
        missing = await _missing(self._bus, stored)
        await together(*(tasks.keep(self._bus, Kept(sent, duplicate=True)) for sent in missing))
        return len(missing)

    def _of(self, message: Found) -> Sent | None:
        """Return what is to be kept of a task; None of one that was not stored from here."""
        return _sent_of(message) if tasks.is_from_here(self._bus, message) else None


async def in_inbox(bus: Bus, inbox: str, task_id: str) -> Sent | None:
    """Return what the sender of a task in an inbox is about to keep of it; None if none has come.

    Whoever has its id from the receipt may look for it before the record behind that stands.

    Raises: as `Bus.api`.
    """
    async for sent in _just_come(bus, inbox):
        if sent.task_id == task_id:
            return sent
    return None


async def settled(bus: Bus, inboxes: Iterable[str]) -> None:
    """Wait until what senders keep of the tasks that have just come into inboxes stands.

    Whoever lists tasks by what is kept of them has missed none then, but of a sender that was
    killed; 0.5 s at most.

    Raises: as `Bus.api`.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(_SETTLED_WITHIN_S):
            come = [sent for inbox in inboxes async for sent in _just_come(bus, inbox)]
            while True:
                come = await _missing(bus, come)
                if not come:
                    return
                await asyncio.sleep(_LOOK_AGAIN_S)


async def _just_come(bus: Bus, inbox: str) -> AsyncGenerator[Sent]:
    """Yield what the senders of the latest tasks in an inbox keep of each, or are about to."""
    subject = subjects.task_subject(inbox, "*", "*")
    try:
        since = await server_now(bus, TASKS) - _KEPT_WITHIN
    except ApiError as error:
        if error.code != NO_SUCH_STREAM:
            raise
        return
    start: dict[str, object] = {"start_time": text.stamp(since)}
    while messages := await bus.many(TASKS, {**start, "batch": _PAGE, "next_by_subj": subject}):
        for message in messages:
            # Others' programs keep nothing, however long one waits.
            if message.headers.get(subjects.H_PROOF) and (sent := _sent_of(message)):
                yield sent
        start = {"seq": messages[-1].seq + 1}


def _sent_of(message: Found) -> Sent | None:
    """Return what a task's sender keeps of it; None if it is no task."""
    with suppress(Undecodable):  # whoever reads that inbox parks it
        return sent_of(read_back.decoded(message)).model_copy(update={"seq": message.seq})
    return None


async def _missing(bus: Bus, stored: Sequence[Sent]) -> list[Sent]:
    """Return of which of these tasks their sender's side keeps nothing yet."""
    if not stored:
        return []
    places = [subjects.sent_subject(sent.owner, sent.inbox, sent.task_id) for sent in stored]
    there = {
        message.subject
        for message in await lasts(bus, places)
        if (kept := sent_in(message)) and not kept.unasked
    }
    return [sent for sent, place in zip(stored, places, strict=True) if place not in there]
