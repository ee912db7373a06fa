# SPDX-License-Identifier: Apache-2.0
"""What a task's worker has asked and not gone on from, and whether somebody has replied.

>>> of_steps([Moment(state="needs_input", at=at, by="coder")]).is_open
True

For those who show it: who asks and what was said to that is read from `to_question`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from mcp_agentbus.core.ids import is_agent
from mcp_agentbus.store.asked import decisions
from mcp_agentbus.store.steps import question_of
from mcp_agentbus.store.task import ASKING, ENDS, HELD, Moment, Record, Sent, Task

#: What a worker says, or what ends its task: a question stands until the next of these.
SAID: Final = ENDS | HELD - {"claimed"}
#: The steps by which a question has a reply.
REPLIED: Final = frozenset({"answered", "decided", *decisions.STEPS.values()})


@dataclass(frozen=True)
class Question:
    """What a worker asks."""

    #: `needs_input` or `needs_approval`.
    state: str
    #: The agent that asked; another may hold its task by now, or nobody.
    by: str
    at: datetime
    #: When its sender answered that last.
    answered_at: datetime | None = None
    #: When its worker's user decided that.
    decided_at: datetime | None = None
    #: What that was; None: an earlier version has not said it.
    approved: bool | None = None

    @property
    def replied_at(self) -> datetime | None:
        """When somebody replied who can: what is to be approved, no sender's word decides."""
        return self.decided_at if self.state == "needs_approval" else self.answered_at

    @property
    def verdict(self) -> str:
        """What its worker's user decided, as a verb."""
        return {True: "approved", False: "DENIED", None: "decided"}[self.approved]

    @property
    def is_open(self) -> bool:
        """Whether nobody has."""
        return self.replied_at is None

    def decided_here(self, folder: Path, owner: str, inbox: str, task_id: str) -> Question:
        """Return the same with what this user has decided, of whose state `folder` is."""
        if self.state != "needs_approval":
            return self
        decision = decisions.given(folder, owner, inbox, task_id)
        if decision is None or decision.at < self.at:
            return self
        return replace(self, decided_at=decision.at, approved=decision.approved)


def of_steps(steps: Iterable[Moment]) -> Question | None:
    """Return what is asked by the steps of a task, in the order of time; as `question_of`."""
    steps = list(steps)
    for step in reversed(steps):
        if step.state in SAID:
            return _asked(step, steps) if step.state in ASKING and is_agent(step.by) else None
    return None


def of_record(
    folder: Path,
    record: Record,
    sent: Sent | None,
    wakes: Iterable[Moment] = (),
    task: Task | None = None,
) -> Question | None:
    """Return what is asked in a worker's record.

    Args:
        folder: of this user's state.
        record: the worker's.
        sent: its sender's, with what that has answered.
        wakes: what listeners did, and users decided, about the task.
        task: as its reader is shown it: what was decided about another text is no reply to it.
    """
    step = question_of(record)
    if step is None:
        return None
    answers = sent.answers if sent else ()
    answered = [
        Moment(state="answered", at=each.at, by=record.owner)
        for each in answers
        if each.question == step.at
    ]
    question = _asked(step, (*wakes, *answered))
    if task and decisions.is_about_another(folder, record, task):
        return replace(question, decided_at=None, approved=None)
    return question.decided_here(folder, record.owner, record.inbox, record.task_id)


def _asked(step: Moment, steps: Iterable[Moment]) -> Question:
    replied = {each.state: each.at for each in steps if each.at >= step.at}
    decided = {replied[each]: each for each in REPLIED - {"answered"} if each in replied}
    at = max(decided, default=None)
    approved = {"approved": True, "denied": False}.get(decided[at]) if at else None
    return Question(step.state, step.by, step.at, replied.get("answered"), at, approved)
