# SPDX-License-Identifier: Apache-2.0
"""Who has sent a task that lies in an inbox: anybody may write that he has.

    >>> (await sent_to(bus, "coder", task_id)).owner
    'planner'

Whose it is the worker's record says and, where there is none yet, the stored task: of one that is
gone without a record nobody is taken for its sender.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Found
from mcp_agentbus.core.aio import both, together
from mcp_agentbus.store import subjects
from mcp_agentbus.store.queries import read_back
from mcp_agentbus.store.queries.counted import stored_subjects
from mcp_agentbus.store.records import lasts, latest, record_in, sent_in
from mcp_agentbus.store.steps import first_record, sent_by_record
from mcp_agentbus.store.subjects import SCHEDULE, TASKS
from mcp_agentbus.store.task import Record, Sent

# So many stored tasks are read at once, each of which may have 512 KiB.
_AT_ONCE: Final = 50


async def sent_to(bus: Bus, inbox: str, task_id: str) -> Sent | None:
    """Return what the sender of a task in an inbox keeps of it; None if nothing is kept.

    Raises:
        ApiError, BusUnreachable, NotAllowed: as `Bus.many`.
    """
    places = (subjects.record_subject, subjects.sent_subject)
    messages = await lasts(bus, [place("*", inbox, task_id) for place in places])
    return await sent_among(bus, messages)


async def sent_among(bus: Bus, messages: Sequence[Found]) -> Sent | None:
    """Return the same, among the last messages under the subjects of all records of that task.

    Raises: as `sent_to`.
    """
    owner = await owner_among(bus, messages)
    sent = latest(
        [each for each in messages if subjects.parts(each.subject).whose == owner], "sent"
    )
    return sent if isinstance(sent, Sent) and not sent.unasked else None


async def owner_among(bus: Bus, messages: Sequence[Found]) -> str:
    """Return who has sent the task of which these are all records; empty if nobody is known to.

    That is whoever alone has a worker's record, or whose task is stored. Of one that is over and of
    which several have records, it is whose was written last.

    Raises: as `sent_to`.
    """
    kept = {sent.owner: sent for each in messages if (sent := sent_in(each)) and not sent.unasked}
    worked = {record.owner: sent_by_record(record) for record in map(record_in, messages) if record}
    senders = list((worked | kept).values())
    if worked and len(senders) == 1:
        return senders[0].owner
    if len(senders) > 1:  # anybody may write under any number of names
        senders = await _with_tasks(bus, senders)
    for some in _at_once(senders):
        there = await together(*(_lies_there(bus, sent) for sent in some))
        if True in there:
            return some[there.index(True)].owner
    record = latest(messages, "results")
    return record.owner if isinstance(record, Record) else ""


def _at_once(senders: Sequence[Sent]) -> Iterator[list[Sent]]:
    """Yield those of whom is asked at once: of a task without a number a whole lane may be read."""
    numbered = [sent for sent in senders if sent.seq]
    yield from (numbered[at : at + _AT_ONCE] for at in range(0, len(numbered), _AT_ONCE))
    yield from ([sent] for sent in senders if not sent.seq)


async def _with_tasks(bus: Bus, senders: Sequence[Sent]) -> list[Sent]:
    """Return those who have anything at all stored where the task of which they keep it would lie.

    All of them have the same inbox and task.
    """
    inbox, task_id = senders[0].inbox, senders[0].task_id
    at_its_time = subjects.scheduled_subject(inbox, "*", "*", task_id)
    stored, scheduled = await both(
        stored_subjects(bus, TASKS, subjects.task_subject(inbox, "*", "*")),
        stored_subjects(bus, SCHEDULE, at_its_time),
    )
    return [
        sent
        for sent in senders
        if subjects.task_subject(inbox, sent.priority, sent.owner) in stored
        or subjects.scheduled_subject(inbox, sent.priority, sent.owner, task_id) in scheduled
    ]


async def _lies_there(bus: Bus, sent: Sent) -> bool:
    """Tell whether the task of which somebody keeps that he has sent it is stored as his."""
    if sent.deliver_at:
        lane = sent.inbox, sent.priority
        scheduled = subjects.scheduled_subject(*lane, sent.owner, sent.task_id)
        if await bus.many(subjects.SCHEDULE, {"multi_last": [scheduled]}):
            return True
    record = first_record(sent)
    if sent.seq:  # many may have written one: for none of them a whole lane is read
        return bool(await read_back.find_at(bus, record, sent.seq))
    return bool(await read_back.find(bus, record))
