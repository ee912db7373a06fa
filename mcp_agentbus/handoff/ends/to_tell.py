# SPDX-License-Identifier: Apache-2.0
"""What there is to tell of tasks to the agent that sent them, by their records: nothing is taken.

    >>> await offered(bus, "planner", delivery, awaits)
    ToldRecord(record=Record(state='completed', ...), revision=18, sent=Sent(...), ...)

A worker's record holds as its task's sender has kept it, where that is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, NamedTuple

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Delivery, Found
from mcp_agentbus.core.aio import together
from mcp_agentbus.store import records, subjects, unseen
from mcp_agentbus.store.steps import Write
from mcp_agentbus.store.task import TOLD, Record, Sent

# How soon, in seconds, it is looked again for what a sender keeps of a task with a result already.
_NOT_ASKED_S: Final = 0.5
# Of so many tasks it is read at once what stands, each of which may have 1 MiB.
_AT_ONCE: Final = 50


class ToldRecord(NamedTuple):
    """What a record tells."""

    record: Record
    revision: int
    #: What is kept of its task, sent or only seen; None if nothing is.
    sent: Sent | None
    #: What offered it; None if it was read as it is stored.
    delivery: Delivery | None = None


async def offered(
    bus: Bus, agent: str, delivery: Delivery, awaits: Callable[[Record], bool]
) -> ToldRecord | None:
    """Return what a delivery tells; None if that is nothing, or not yet: then it is seen to.

    Args:
        bus: where it lies.
        agent: whose it is.
        delivery: of a record of one of its tasks.
        awaits: tells whether its reader has sent the task itself, and is to keep that yet.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    record = records.record_in(delivery)
    if record is None or record.state not in TOLD:
        if record and any(moment.state == "parked" for moment in record.history):
            await _open_again(bus, agent, record)
        await bus.finish(delivery)  # the record stays as it is
        return None
    sent, _ = await records.read_kept(bus, agent, record.inbox, record.task_id)
    if sent is not None or not awaits(record):
        record = await records.as_asked(bus, record, sent)
        if not sent and await unseen.may_be_asked_yet(bus, record, delivery.stored_at):
            await bus.give_back(delivery, _NOT_ASKED_S)
            return None
    if not record.is_told:
        await bus.finish(delivery)
        return None
    return ToldRecord(record, delivery.seq, sent, delivery)


async def _open_again(bus: Bus, agent: str, record: Record) -> None:
    """Keep a deadline again for a task that had an end as it was set aside, and goes on.

    Whoever offers it again may be of another account, which cannot write what its sender keeps.
    """

    def opened(sent: Sent | None) -> Write[Sent] | None:
        is_over = sent is not None and sent.closed and not sent.unasked
        return Write(sent.model_copy(update={"closed": False})) if sent and is_over else None

    await records.update(bus, records.sent_key(agent, record.inbox, record.task_id), opened)


class Stands(NamedTuple):
    """What stands of a task on the side of the agent that sent it."""

    #: What became of it.
    record: Record | None
    revision: int
    #: What is kept of it, sent or only seen; None if nothing is.
    sent: Sent | None


async def stands(
    bus: Bus, agent: str, task_ids: Collection[str], awaited: Mapping[str, str]
) -> list[Stands]:
    """Return what stands of an agent's tasks, in their order.

    Only the inbox that one was sent to has a word about it; of one that was never sent, any has.

    Args:
        bus: where it lies.
        agent: whose tasks.
        task_ids: of the tasks.
        awaited: the inboxes of those that its reader has sent itself, and is to keep yet.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    asked, found = list(task_ids), list[Stands]()
    for some in (asked[at : at + _AT_ONCE] for at in range(0, len(asked), _AT_ONCE)):
        places = [
            place
            for task_id in some
            for place in (
                subjects.record_subject(agent, "*", task_id),  # it may have moved since
                subjects.sent_subject(agent, "*", task_id),
            )
        ]
        there: dict[str, list[Found]] = {task_id: [] for task_id in some}
        for message in await records.lasts(bus, places):
            there[subjects.parts(message.subject).rest[-1]].append(message)
        found += await together(
            *(_stands(bus, awaited.get(task_id), there[task_id]) for task_id in some)
        )
    return found


async def _stands(bus: Bus, awaited: str | None, messages: Iterable[Found]) -> Stands:
    kept, _ = records.kept_among(messages)
    if kept and kept.unasked and awaited not in {None, kept.inbox}:
        kept = None  # of what has only its id
    inbox = kept.inbox if kept else awaited
    told = [
        message
        for message in messages
        if (parts := subjects.parts(message.subject)).kind == "results"
        if inbox in {None, parts.rest[0]}
    ]
    newest = max(told, key=lambda message: message.seq, default=None)
    record, revision = (records.record_in(newest), newest.seq) if newest else (None, 0)
    if record and not (kept is None and awaited):  # what its sender keeps comes yet
        record = await records.as_asked(bus, record, kept)
    return Stands(record, revision, kept)
