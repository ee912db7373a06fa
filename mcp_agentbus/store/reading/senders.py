# SPDX-License-Identifier: Apache-2.0
"""Who has sent a task that lies in an inbox: anybody may write that he has.

    >>> (await sent_to(bus, "coder", task_id)).owner
    'planner'

Whose it is the worker's record says and, where there is none yet, the stored task: of one that is
gone without a record nobody is taken for its sender.
"""

from __future__ import annotations

from collections.abc import Sequence

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Found
from mcp_agentbus.store import subjects, tasks
from mcp_agentbus.store.records import lasts, latest, sent_in
from mcp_agentbus.store.steps import first_record
from mcp_agentbus.store.task import Record, Sent


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
    record = latest(messages, "results")
    if isinstance(record, Record):
        own = [each for each in messages if subjects.parts(each.subject).whose == record.owner]
        sent = latest(own, "sent")
        return sent if isinstance(sent, Sent) and not sent.unasked else None
    for each in messages:
        sent = sent_in(each)
        if sent and not sent.unasked and await _lies_there(bus, sent):
            return sent
    return None


async def _lies_there(bus: Bus, sent: Sent) -> bool:
    """Tell whether the task of which somebody keeps that he has sent it is stored as his."""
    if sent.deliver_at:
        lane = sent.inbox, sent.priority
        scheduled = subjects.scheduled_subject(*lane, sent.owner, sent.task_id)
        if await bus.admin.many(subjects.SCHEDULE, {"multi_last": [scheduled]}):
            return True
    return bool(await tasks.find(bus, first_record(sent), sent.seq))
