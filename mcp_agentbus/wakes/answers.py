# SPDX-License-Identifier: Apache-2.0
"""What was said to the questions of an agent's workers, looked at from outside.

    >>> await to_holders(bus, asking)
    [Waiting(key='answer 9d0c... 1795743849.218201:1', kind='answer', session='1f0c...', ...)]

A question that has an answer wakes whoever asked: the session that holds the task is told, and of
a task that nobody holds the next one is started. One that has none wakes nobody.
"""

from __future__ import annotations

from collections.abc import Sequence

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.aio import together
from mcp_agentbus.store.asked.replies import to_question
from mcp_agentbus.store.records import read_record
from mcp_agentbus.store.steps import question_of
from mcp_agentbus.store.task import Record
from mcp_agentbus.wakes.facts import Waiting


async def to_holders(bus: Bus, asking: Sequence[Record]) -> list[Waiting]:
    """Return the answers that those who hold a task, and have asked, are not known to have.

    Args:
        bus: where it is looked.
        asking: the records of held tasks with a question, as they stood before.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    return [thing for thing in await together(*(_to(bus, each) for each in asking)) if thing]


async def is_missing(bus: Bus, record: Record | None) -> bool:
    """Tell whether a task that waits has a question of its last worker with no answer to it.

    Raises: as `to_holders`.
    """
    if record is None or question_of(record) is None:
        return False
    return not await to_question(bus, record)


async def _to(bus: Bus, before: Record) -> Waiting | None:
    place = before.owner, before.inbox, before.task_id
    record, _ = await read_record(bus, *place)
    if record is None or question_of(record) is None or record.session != before.session:
        return None
    replies = await to_question(bus, record)
    return _answer(record, replies.mark) if replies else None


def _answer(record: Record, mark: str) -> Waiting:
    return Waiting(
        key=f"answer {record.task_id} {mark}",
        kind="answer",
        task_id=record.task_id,
        sender=record.owner,
        owner=record.owner,
        inbox=record.inbox,
        live_only=True,
        session=record.session,
        mark=mark,
    )
