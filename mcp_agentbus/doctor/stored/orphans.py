# SPDX-License-Identifier: Apache-2.0
"""What is left over of tasks whose other parts are gone: records, stored messages, copies.

    >>> await checks(settings)
    [Check(name='orphans', state='warning', said='1 task is gone and has no end: 9d0c2f1e')]

A process that was killed, or whoever deletes a message, leaves one part of a task without the
others. Each is seen to by itself: by its sender's next look, at its deadline, by its next reader.
`--fix` does the same at once. Of ids those are shown that this program has made: any other may be a
sentence.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Found, untaken
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import ids
from mcp_agentbus.core.text import many
from mcp_agentbus.doctor.check import Check
from mcp_agentbus.doctor.shared import account
from mcp_agentbus.doctor.stored.mends import FIX, asks, is_whole, named
from mcp_agentbus.installers.steps import Step
from mcp_agentbus.store import records, roster, subjects, tasks
from mcp_agentbus.store.queries import read_back
from mcp_agentbus.store.queries.clock import has_come, server_now
from mcp_agentbus.store.steps import sent_by_record, sent_of
from mcp_agentbus.store.subjects import RESULTS, SCHEDULE, TASKS
from mcp_agentbus.store.task import Record, Sent, Undecodable
from mcp_agentbus.store.tasks import Kept
from mcp_agentbus.store.upkeep import lost, removal

# So many messages of each stream are looked at, the newest, and for so long in all: doctor gives a
# check 10 s.
_NEWEST_MAX: Final = 2_000
_LOOK_S: Final = 6.0
# Each may have 512 KiB.
_PAGE: Final = 100
# Parts of a task are stored one after the other: what is younger may be under way.
_UNDER_WAY: Final = timedelta(seconds=10)
_SHOWN_CHARS: Final = 8
# By the owner, the inbox and the task's id.
_Place = tuple[str, str, str]


@dataclass(frozen=True)
class _Stored:
    """A task that waits in an inbox, or for its time."""

    stream: str
    #: Without what it says.
    message: Found
    #: What its sender is to keep of it.
    sent: Sent
    #: This user has stored it, from this machine.
    is_ours: bool


@dataclass
class _Parts:
    """What is stored of tasks, as far as it was looked at."""

    #: What is older has all its parts, or never will.
    before: datetime
    sent: dict[_Place, Sent] = field(default_factory=dict)
    records: dict[_Place, Record] = field(default_factory=dict)
    stored: dict[_Place, list[_Stored]] = field(default_factory=dict)
    #: Whether all that waits was looked at, so that what is not among it is gone.
    is_whole: bool = True

    def add(self, message: Found) -> None:
        """Note a record of a task, if it is one that matters here."""
        if sent := records.sent_in(message) if _kind(message) == "sent" else None:
            self.sent[sent.owner, sent.inbox, sent.task_id] = sent
        elif record := records.record_in(message) if _kind(message) == "results" else None:
            self.records[record.owner, record.inbox, record.task_id] = record


async def checks(settings: Settings) -> list[Check]:
    """Name what is left over; empty where nothing is, or no server runs.

    Raises:
        AgentbusError: that cannot be found out.
    """
    if settings.account:
        return [Check("orphans", "ok", account.NOT_HERE)]
    async with Bus(settings) as bus:
        if not await is_whole(bus):
            return []
        parts = await _look(bus)
        return [
            *_gone(settings, await _without_task(bus, parts)),
            *_over(settings, _ended(parts)),
            *_unkept(settings, _without_sender(parts)),
            *_uncopied(settings, await _without_copy(bus, parts)),
        ]


async def _look(bus: Bus) -> _Parts:
    """Read the parts of the newest tasks: what is kept of them before what is stored."""
    until = time.monotonic() + _LOOK_S
    parts = _Parts(await server_now(bus, RESULTS) - _UNDER_WAY)
    await _read(bus, RESULTS, parts.add, until)

    for stream in (TASKS, SCHEDULE):

        def add(message: Found, stream: str = stream) -> None:
            if stored := _stored(bus, stream, message):
                sent = stored.sent
                parts.stored.setdefault((sent.owner, sent.inbox, sent.task_id), []).append(stored)

        parts.is_whole &= await _read(bus, stream, add, until)
    # What is kept of them may be among what is older.
    wanted = [subjects.record_subject(*each) for each in parts.stored.keys() - parts.records.keys()]
    wanted += [subjects.sent_subject(*each) for each in parts.stored.keys() - parts.sent.keys()]
    for message in await records.lasts(bus, wanted):
        parts.add(message)
    return parts


async def _read(bus: Bus, stream: str, add: Callable[[Found], None], until: float) -> bool:
    """Read a stream's newest messages; tell whether these are all."""
    state = (await bus.api(f"STREAM.INFO.{stream}"))["state"]
    is_whole = int(state["messages"]) <= _NEWEST_MAX
    start = 1 if is_whole else int(state["last_seq"]) - _NEWEST_MAX + 1
    async with aclosing(bus.stored(stream, ">", start=start, page=_PAGE)) as pages:
        async for page in pages:
            for message in page:
                add(message)
            if page and time.monotonic() > until:
                return False
    return is_whole


def _stored(bus: Bus, stream: str, message: Found) -> _Stored | None:
    """Return the task in a message of an inbox, or that waits for its time; None if it is none."""
    inbox, kind, rest = subjects.parts(message.subject)
    with suppress(Undecodable, IndexError):  # `messages` tells of it
        if kind != "tasks":
            message = replace(message, subject=subjects.task_subject(inbox, rest[0], rest[1]))
        sent = sent_of(read_back.decoded(message))
        sent = sent.model_copy(update={"seq": message.seq if stream == TASKS else 0})
        return _Stored(stream, replace(message, data=b""), sent, tasks.is_from_here(bus, message))
    return None


def _kind(message: Found) -> str:
    return subjects.parts(message.subject).kind


async def _without_task(bus: Bus, parts: _Parts) -> list[Sent]:
    """Return the tasks that are kept as open, and that no stream has any more."""
    if not parts.is_whole:
        return []
    kept = [
        sent
        for sent in parts.sent.values()
        if not (sent.closed or sent.unasked) and not await has_come(bus, sent.expires_at)
    ]
    kept += [
        sent_by_record(record)
        for place, record in parts.records.items()
        if place not in parts.sent and not record.asked_by
    ]
    gone = []
    for sent in kept:
        place = sent.owner, sent.inbox, sent.task_id
        if place in parts.stored or sent.created_at > parts.before:
            continue
        record, _ = await records.read_record(bus, *place)  # it may have ended meanwhile
        if record is None or not (record.ended or await roster.may_hold(bus, record)):
            gone.append(sent)
    return gone


def _ended(parts: _Parts) -> list[_Stored]:
    """Return what is still stored of tasks that have ended."""
    left: list[_Stored] = []
    for place, several in parts.stored.items():
        record = parts.records.get(place)
        if record and record.ended and record.updated_at < parts.before:
            left += several
    return left


def _without_sender(parts: _Parts) -> list[Sent]:
    """Return the tasks of which their sender's side keeps nothing, and that were sent from here."""
    alone: list[Sent] = []
    for place, [stored, *_] in parts.stored.items():
        kept, record = parts.sent.get(place), parts.records.get(place)
        is_kept = kept is not None and not kept.unasked
        has_ended = record is not None and record.ended
        is_from_here = stored.is_ours and stored.message.stored_at < parts.before
        if is_from_here and not is_kept and not has_ended:
            alone.append(stored.sent)
    return alone


async def _without_copy(bus: Bus, parts: _Parts) -> list[Record]:
    """Return the results of which another agent was to have a copy, and has none."""
    wanted = [
        record
        for record in parts.records.values()
        if record.is_told
        and record.reply_to not in {"", record.owner}
        and record.updated_at < parts.before
    ]
    places = [subjects.record_subject(each.reply_to, each.inbox, each.task_id) for each in wanted]
    there = {message.subject for message in await records.lasts(bus, places)} if places else set()
    return [each for each, place in zip(wanted, places, strict=True) if place not in there]


def _gone(settings: Settings, gone: Sequence[Sent]) -> list[Check]:
    async def mend(bus: Bus) -> None:
        for sent in gone:
            await lost.end(bus, sent, "and nobody can read it")

    these = _tasks(each.task_id for each in gone)
    said = f"gone from their inboxes without an end: {these}"
    wait = "Their senders wait until the deadlines."
    return _check(said, wait, Step(f"end as failed: {these}", asks(settings, mend)), gone)


def _over(settings: Settings, over: Sequence[_Stored]) -> list[Check]:
    async def mend(bus: Bus) -> None:
        for each in over:
            await removal.finish(bus, untaken(each.stream, each.message))

    these = _tasks(each.sent.task_id for each in over)
    wait = "Whoever reads these inboxes next takes them out."
    step = Step(f"take out of inboxes: {these}", asks(settings, mend))
    return _check(f"ended and still stored: {these}", wait, step, over)


def _unkept(settings: Settings, unkept: Sequence[Sent]) -> list[Check]:
    async def mend(bus: Bus) -> None:
        for sent in unkept:
            await tasks.keep(bus, Kept(sent, duplicate=True))

    these = _tasks(each.task_id for each in unkept)
    said = f"stored, and nothing is kept of them for their senders: {these}"
    wait = "A listener of their senders keeps it within half a minute."
    step = Step(f"keep for their senders what is known: {these}", asks(settings, mend))
    return _check(said, wait, step, unkept)


def _uncopied(settings: Settings, uncopied: Sequence[Record]) -> list[Check]:
    async def mend(bus: Bus) -> None:
        for record in uncopied:
            await records.copy(bus, record)

    these = _tasks(each.task_id for each in uncopied)
    said = f"without the copy of its result that another agent is to have: {these}"
    wait = "It is made when their senders read the result."
    return _check(said, wait, Step(f"copy the result of {these}", asks(settings, mend)), uncopied)


def _check(said: str, wait: str, mend: Step, found: Sequence[object]) -> list[Check]:
    return [Check("orphans", "warning", said, f"{wait} {FIX}", mend)] if found else []


def _tasks(task_ids: Iterable[str]) -> str:
    """Name tasks: by the beginning of an id that is ours, the others by how many there are."""
    known = list(dict.fromkeys(task_ids))
    ours = [each[:_SHOWN_CHARS] for each in known if ids.is_own_task_id(each)]
    count = many(len(known), "task", grouped=True)
    return f"{count} ({named(ours)})" if ours else count
