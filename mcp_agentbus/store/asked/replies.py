# SPDX-License-Identifier: Apache-2.0
"""All that was said to the question which a task's record has now.

>>> (await to_question(bus, record)).mark
'1795767302.250000:2'
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.store.asked import decisions
from mcp_agentbus.store.asked.decisions import Decision
from mcp_agentbus.store.records import read_sent
from mcp_agentbus.store.steps import question_of
from mcp_agentbus.store.task import Answer, Record, Task


@dataclass(frozen=True)
class Replies:
    """What was said to a question."""

    #: When that was asked.
    question: datetime | None = None
    #: The sender's, a peer's word; the latest last.
    answers: tuple[Answer, ...] = ()
    #: That of the worker's own user, on this machine.
    decision: Decision | None = None

    def __bool__(self) -> bool:
        """Whether anything was said."""
        return bool(self.answers or self.decision)

    @property
    def mark(self) -> str:
        """What tells this from what was said before, or after, or to another question; no blank."""
        asked = f"{self.question.timestamp():.6f}" if self.question else ""
        decided = f"-{self.decision.at.timestamp():.6f}" if self.decision else ""
        return f"{asked}:{len(self.answers)}{decided}"


async def to_question(bus: Bus, record: Record | None, task: Task | None = None) -> Replies:
    """Return what was said to a record's question; nothing if it asks nothing.

    With the `task`, for who goes on with it, as `decisions.kept`.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    question = question_of(record) if record else None
    if record is None or question is None:
        return Replies()
    sent, _ = await read_sent(bus, record.owner, record.inbox, record.task_id)
    answers = sent.answers if sent else ()
    return Replies(
        question.at,
        tuple(each for each in answers if each.question == question.at),
        decisions.kept(bus.settings.state_dir, record, task),
    )
