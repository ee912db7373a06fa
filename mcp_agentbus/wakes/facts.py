# SPDX-License-Identifier: Apache-2.0
"""The facts that `policy` decides by whether an agent is woken, with its answer: `Wake` or `Hold`.

    >>> decide(Facts(now, rules, waiting=(Waiting("task coder 9d0c...", kind="task", ...),)))
    Wake(means='start', because=(Waiting(key='task coder 9d0c...', ...),), ...)

Pure: what is known of an agent at one moment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

from mcp_agentbus.config.rules import Profile, Rules
from mcp_agentbus.core.ids import Priority
from mcp_agentbus.core.notices import Reason

#: Whether an agent has live sessions, and how one of them comes to know of a task: by a notice, or
#: as it takes tasks without one.
Reached = Literal["none", "can_be_told", "reads_by_itself", "cannot_be_told"]
#: Older wakes play no role.
DAY: Final = timedelta(hours=24)


@dataclass(frozen=True)
class Waiting:
    """Something that waits for an agent and may wake it."""

    #: Names it in the ledger: `task INBOX ID`, `result ID REVISION`, or `answer ID QUESTION:MARK`.
    key: str
    kind: Literal["task", "result", "answer"]
    task_id: str
    #: Who is behind it: the sender of the task, or the worker whose result it is.
    sender: str
    #: The task's owner and inbox, for the record of the wake; never shown.
    owner: str
    inbox: str
    #: A notice for a live session only; it starts nothing and is given once.
    live_only: bool = False
    #: The session it is for, of those that are live; empty for any.
    session: str = ""
    #: Of a task.
    priority: Priority = "high"
    #: Its last worker has asked something, and nobody has answered.
    unanswered: bool = False
    #: Whether the agent takes tasks of its sender at all.
    accepted: bool = True
    #: Of answers, as `Replies.mark`.
    mark: str = ""

    @classmethod
    def of_task(
        cls,
        task_id: str,
        sender: str,
        inbox: str,
        priority: Priority = "high",
        *,
        unanswered: bool = False,
    ) -> Waiting:
        """Return a task, by who has sent it, as what waits in an inbox."""
        return cls(
            key=f"task {inbox} {task_id}",
            kind="task",
            task_id=task_id,
            sender=sender,
            owner=sender,
            inbox=inbox,
            priority=priority,
            unanswered=unanswered,
        )

    @property
    def shown_as(self) -> str:
        """By what a session knows whether it has shown it: `news.shown`."""
        return f"{self.task_id} {self.mark}" if self.kind == "answer" else self.task_id


@dataclass(frozen=True)
class PastWake:
    """A wake of the last day, as the ledger knows it."""

    at: datetime
    keys: frozenset[str]
    #: Whose tasks justified it.
    senders: frozenset[str]
    #: None while it runs.
    ended_at: datetime | None = None
    #: Whether anything it told of was read afterwards; None if that is not known (yet).
    led_to_read: bool | None = None
    #: It ended because the listener did: no fault of the agent.
    interrupted: bool = False
    #: A person has cleared its failure: it counts for the budget only.
    cleared: bool = False
    #: A notice of a result in a live session; counts for nothing but its own limit.
    live_only: bool = False
    #: Whether anything was started, or told: if not it cost nothing, and counts in no limit.
    begun: bool = True
    #: What it counts for: as its host has said, or as much as it might cost where that did not.
    usd: float = 0.0


@dataclass(frozen=True)
class Facts:
    """All that a decision is made from."""

    #: With a time zone: quiet hours are the user's own.
    now: datetime
    #: What the user has set for the agent; None if it is known by its live sessions only.
    rules: Rules | None
    waiting: tuple[Waiting, ...]
    session: Reached = "none"
    running: bool = False
    past: tuple[PastWake, ...] = ()
    #: Senders of this user on this machine, who may wake; None: everybody on this bus is one.
    trusted: frozenset[str] | None = None
    ledger_works: bool = True


@dataclass(frozen=True)
class Wake:
    """Wake the agent now."""

    means: Literal["nudge", "start"]
    #: What justifies it.
    because: tuple[Waiting, ...]
    #: All that it tells of: the same, and what was told before and still waits.
    covers: tuple[Waiting, ...]
    #: What it is not for, by key.
    held: dict[str, Reason] = field(default_factory=dict)
    #: For its one task alone, with that profile: its user's word. None: by the rules.
    alone: Profile | None = None


@dataclass(frozen=True)
class Hold:
    """Do not wake it now."""

    reason: Reason
    #: Look again at this time; None: when something changes.
    until: datetime | None = None
    #: The reason for each thing that waits, by key.
    held: dict[str, Reason] = field(default_factory=dict)
