# SPDX-License-Identifier: Apache-2.0
"""What went with a stream that the server has lost, and who has to be told of it.

>>> (await made(bus)).anew
False
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import NO_SUCH_STREAM, ApiError, Conflict, server_time
from mcp_agentbus.core import text
from mcp_agentbus.core.aio import together
from mcp_agentbus.store import roster, subjects
from mcp_agentbus.store.queries.numbered import numbered
from mcp_agentbus.store.records import read_record, read_sent, sent_in, write_record
from mcp_agentbus.store.steps import first_record, step
from mcp_agentbus.store.task import EXPIRES_MAX_S, Sent

#: Of a stream that was restored from a backup: when all of them were.
RESTORED: Final = "agentbus-restored"
# Stored tasks in one answer, each of which may have 512 KiB.
_PAGE: Final = 100
# In seconds: what a sender keeps follows its task by a round trip, and no bus is replaced in less.
_LATE_S: Final = 0.5
# In seconds: in a cluster who answers a read may be behind who has confirmed a store, by less.
_BEHIND_S: Final = 1.0
# All streams of a new bus are made within this time.
_TOGETHER: Final = timedelta(seconds=5)
# By what goes by another clock one that was lost may seem made so long before a session began.
_CLOCKS_DIFFER: Final = timedelta(hours=1)
# By then the last task that went with a stream has expired.
_LOSS_MATTERS: Final = timedelta(seconds=2 * EXPIRES_MAX_S)


@dataclass(frozen=True)
class Made:
    """When the streams were made that hold what is sent, and what is kept of it."""

    tasks: datetime
    schedule: datetime
    results: datetime

    @property
    def anew(self) -> bool:
        """Whether one that held tasks was lost with them."""
        first = min(self.tasks, self.schedule, self.results)
        return is_anew(max(self.tasks, self.schedule), first)


def is_anew(made_at: datetime, first: datetime) -> bool:
    """Tell whether a stream was lost and made then, not so long ago that it plays no role.

    The `first` of those beside it is as old as the bus.
    """
    return made_at - first > _TOGETHER and text.now() - made_at < _LOSS_MATTERS


async def made(bus: Bus) -> Made:
    """Ask the server when the streams were made that tasks are in; raises as `Bus.api`."""
    names = subjects.TASKS, subjects.SCHEDULE, subjects.RESULTS
    return Made(*(await made_at(bus, names)).values())


async def made_at(bus: Bus, names: Sequence[str]) -> dict[str, datetime]:
    """Ask the server when these streams were made, or restored; raises as `Bus.api`."""
    infos = await together(*(_info(bus, name) for name in names))
    return dict(zip(names, map(_made_at, infos), strict=True))


def _made_at(info: Mapping[str, Any]) -> datetime:
    with suppress(ValueError):  # somebody else's word
        if restored := str((info["config"].get("metadata") or {}).get(RESTORED, "")):
            return server_time(restored)
    return server_time(str(info["created"]))


class Losses:
    """Looks whether tasks of an agent went with a stream; such a task nobody can read any more."""

    def __init__(self, bus: Bus, agent: str) -> None:
        self._bus, self._agent = bus, agent
        self._known: Made | None = None
        #: What was made before that was not lost since.
        self._since = text.now() - _CLOCKS_DIFFER

    def go_on(self) -> None:
        """Look also for what another session had sent, which may have been lost at any time."""
        self._since = datetime.min.replace(tzinfo=UTC)

    async def look(self, awaited: Mapping[str, tuple[str, datetime]]) -> None:
        """End the tasks that were lost since the look before, so that their sender is told.

        Whoever has claimed one has it whole, and may still answer; unless the records went as well.

        Args:
            awaited: inbox and deadline of what was stored from here and is awaited, by task id:
                where the records went, nobody else knows that there were any, and of a task that
                is over its result went.

        Raises: as `Bus.publish`.
        """
        now = await made(self._bus)
        if now != self._known and now.anew:
            await end_lost(self._bus, self._agent, max(now.tasks, now.schedule))
        if now.results > (self._known.results if self._known else self._since):
            await self._end_unknown(awaited, now.results)
        self._known = now

    async def _end_unknown(
        self, awaited: Mapping[str, tuple[str, datetime]], made_at: datetime
    ) -> None:
        maybe = []
        for task_id, (inbox, deadline) in awaited.items():
            kept, _ = await read_sent(self._bus, self._agent, inbox, task_id)
            gone = kept or Sent(
                task_id=task_id, owner=self._agent, inbox=inbox, created_at=text.now(),
                expires_at=deadline,
            )  # fmt: skip
            # What is kept may have been written just after all was lost.
            if kept is None or kept.created_at < made_at:  # else it was sent since
                maybe.append(gone)
        there = await _there(self._bus, self._agent) if maybe else set()
        for gone in maybe:
            if gone.task_id not in there:
                await end(self._bus, gone, "with all that was kept of it")


async def end_lost(bus: Bus, agent: str, before: datetime) -> None:
    """End what an agent has sent before then and is not stored any more, as failed.

    Its sender is told. What has ended or what a live session holds stays as it is.

    Args:
        bus: where.
        agent: whose tasks; `*` for everybody's.
        before: what was sent later may be just on its way.

    Raises: as `Bus.publish`.
    """
    kept = subjects.sent_subject(agent, "*", "*")
    # A task is stored before that is kept: what is stored is read after it.
    maybe = [
        sent
        async for page in bus.stored(subjects.RESULTS, kept)
        for sent in filter(None, map(sent_in, page))
        if sent.created_at < before and not (sent.closed or sent.unasked)
    ]
    there = await _there(bus, agent)
    for sent in maybe:
        if sent.task_id not in there:
            await end(bus, sent, "and nobody can read it")


async def end_if_late(bus: Bus, sent: Sent, since: float) -> None:
    """End a task that was lost before what is kept of it was written, as failed.

    As where a backup takes the place of a bus between the two: who replaces it tells of what is
    kept there, and nobody of a task of which something is kept later. That takes a while, so what
    was written at once is not looked at; nor is a bus that stands since before, however slow it is.

    Args:
        bus: where.
        sent: what is kept of the task, as it is written by now.
        since: when the task was stored; monotonic.

    Raises: as `Bus.publish`.
    """
    late_s = time.monotonic() - since
    if late_s <= _LATE_S or await _is_where_it_was_put(bus, sent):
        return
    now, began = await made(bus), text.now() - timedelta(seconds=late_s) - _CLOCKS_DIFFER
    if max(now.tasks, now.schedule, now.results) < began:
        return
    for pause in (0, _BEHIND_S):
        await asyncio.sleep(pause)
        if sent.task_id in await _there(bus, sent.owner):
            return
    await end(bus, sent, "before what its sender keeps of it was stored")


async def _is_where_it_was_put(bus: Bus, sent: Sent) -> bool:
    """Tell by one request whether a task is stored as it was: many at once are late as a whole."""
    if not sent.seq:
        at = subjects.scheduled_subject(sent.inbox, sent.priority, sent.owner, sent.task_id)
        return await bus.last(subjects.SCHEDULE, at) is not None
    there = await numbered(bus, subjects.TASKS, sent.seq)
    return there is not None and there.headers.get(subjects.H_TASK) == sent.task_id


async def _there(bus: Bus, agent: str) -> set[str | None]:
    """Return the ids of an agent's tasks that are stored.

    In the order in which one goes through these places, so that none is missed on its way.
    """
    places = (
        (subjects.SCHEDULE, subjects.scheduled_subject("*", "*", agent, "*")),
        (subjects.SCHEDULE, subjects.due_subject("*", "*", agent)),
        (subjects.TASKS, subjects.task_subject("*", "*", agent)),
    )
    return {
        message.headers.get(subjects.H_TASK)
        for stream, subject in places
        async for page in bus.stored(stream, subject, page=_PAGE)
        for message in page
    }


async def _info(bus: Bus, stream: str) -> dict[str, Any]:
    """Ask how a stream stands; one that is missing is made anew. Raises as `Bus.api`."""
    call = f"STREAM.INFO.{stream}"
    try:
        return await bus.api(call)
    except ApiError as error:
        if error.code != NO_SUCH_STREAM or bus.on_missing is None:
            raise
    await bus.on_missing()
    return await bus.api(call)


async def end(bus: Bus, sent: Sent, what: str) -> None:
    """End a task that is lost as failed, so that its sender is told.

    What has ended or what a live session holds stays as it is.

    Args:
        bus: where.
        sent: what is kept of the task.
        what: what went with it, in this program's words.

    Raises: as `Bus.publish`.
    """
    record, revision = await read_record(bus, sent.owner, sent.inbox, sent.task_id)
    if record and (record.ended or await roster.may_hold(bus, record)):
        return
    reason = f"the bus server has lost it, {what}: send it again if it is wanted"
    first = record or first_record(sent)
    with suppress(Conflict):  # another session has seen it as well
        ended = step(first, "failed", sent.owner, "", text.now(), reason=reason)
        await write_record(bus, ended, revision)
