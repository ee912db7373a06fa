# SPDX-License-Identifier: Apache-2.0
"""A task whose end is awaited, and a result that was taken and does not yet count as seen.

>>> Result(record, revision=18, delivery=None).is_new
True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Delivery
from mcp_agentbus.core import text
from mcp_agentbus.errors import BadInput
from mcp_agentbus.handoff.call import Given
from mcp_agentbus.store import records
from mcp_agentbus.store.steps import Write, sent_by_record
from mcp_agentbus.store.task import Record, Sent


@dataclass(frozen=True)
class Awaited:
    """A sent task that has no end yet."""

    inbox: str
    deadline: datetime
    #: Whether the bus has it by now.
    is_stored: bool = True


@dataclass(frozen=True)
class Result:
    """A result that was taken and does not yet count as seen."""

    record: Record
    revision: int
    #: What to finish once it counts as seen; None if another session has pulled it.
    delivery: Delivery | None
    #: None: no answer has had it yet.
    given: Given | None = None

    @property
    def is_new(self) -> bool:
        """Whether its reader is to get it yet."""
        return self.given is None or self.given.is_lost


def stored(sent: Mapping[str, Awaited]) -> dict[str, tuple[str, datetime]]:
    """Return the inbox and deadline of what the bus has, by task id, as `Losses.look` wants it."""
    return {
        task_id: (awaited.inbox, awaited.deadline)
        for task_id, awaited in sent.items()
        if awaited.is_stored
    }


async def note_as_seen(bus: Bus, agent: str, result: Result) -> None:
    """Note that an agent has seen a result.

    Raises: as `records.update`.
    """
    record = result.record

    def seen(sent: Sent | None) -> Write[Sent] | None:
        # Of a task that came over plain NATS its sender's side has kept nothing until now.
        sent = sent or sent_by_record(record)
        if sent.seen_revision >= result.revision:
            return None
        update = {
            "seen_revision": result.revision, "seen_at": text.now(), "closed": record.ended
        }  # fmt: skip
        return Write(sent.model_copy(update=update))

    await records.update(bus, records.sent_key(agent, record.inbox, record.task_id), seen)
    if result.delivery:
        await bus.finish(result.delivery)


def no_answer_comes(task_id: str) -> BadInput:
    """Return the error of a wait for the result of a word."""
    return BadInput(
        f"Task {task_id} is a word that wants no answer: no result of it comes.",
        hint="Call task_life with this task_id to see whether it was shown.",
    )
