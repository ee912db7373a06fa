# SPDX-License-Identifier: Apache-2.0
"""An answer of the inbox, as its reader gets it.

>>> Inbox(degraded="The bus server does not answer.").empty
True
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from mcp_agentbus.core.ids import Priority, role_address
from mcp_agentbus.store.asked.decisions import Decision
from mcp_agentbus.store.asked.question import Question
from mcp_agentbus.store.task import Answer, Record, State, Task


@dataclass(frozen=True)
class Item:
    """A task as its reader gets it."""

    task: Task
    state: State
    #: Which attempt at the task this is; 0 for one that was only peeked at.
    attempt: int = 0
    #: Claimed by this very call.
    new: bool = False
    #: Who holds it: empty for this session, or for nobody if `state` is `stored`.
    holder: str = ""
    #: What its worker has asked, this session's or one before it, and what its sender answered.
    question: str = ""
    asked_by: str = ""
    answers: tuple[Answer, ...] = ()
    #: What this session's own user has decided about that: no peer's word.
    decision: Decision | None = None
    #: When an answer had it whole: this one has a line of it. None: it is whole here.
    given_at: datetime | None = None


@dataclass(frozen=True)
class Inbox:
    """An answer of the inbox."""

    tasks: tuple[Item, ...] = ()
    results: tuple[Record, ...] = ()
    #: When an answer had a result whole, by task: this answer has a line of those.
    results_given_at: Mapping[str, datetime] = field(default_factory=dict)
    #: By task what is asked in a result to which somebody has replied already.
    replied: Mapping[str, Question] = field(default_factory=dict)
    #: Open tasks that no live session holds, by priority; a priority without any is left out. None
    #: where that was not looked at.
    waiting: dict[Priority, int] | None = None
    #: Tasks of these inboxes that other live sessions hold, as far as that was looked at.
    held_elsewhere: int = 0
    #: Of those that wait, so many as sessions had that are gone, as far as that was looked at: they
    #: are offered again within half a minute.
    of_gone: int = 0
    #: Why something could not be read; empty if everything could.
    degraded: str = ""
    #: What else the reader should know, in this program's words.
    notes: tuple[str, ...] = ()
    #: Give it to the next call for what comes after; None if this is all.
    next_cursor: str | None = None
    #: Claims of this session, shown here or not.
    held: int = 0
    peeked: bool = False
    #: Only what belongs to this conversation is here; None for all.
    thread_id: str | None = None
    #: Results that are for other sessions, as far as that was looked at.
    results_elsewhere: int = 0
    #: As many results are shown as were asked for: there may be more.
    more_results: bool = False
    timed_out: bool = False

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not self.tasks and not self.results and not self.notes

    @property
    def given(self) -> frozenset[str]:
        """The tasks that it gives, and does not only name."""
        return frozenset(item.task.id for item in self.tasks if item.given_at is None)

    def lacking(self, roles: Collection[str]) -> Inbox:
        """Return it with what was not read said: the inboxes of roles that were not granted."""
        if not roles or self.degraded:
            return self
        these = ", ".join(map(role_address, sorted(roles)))
        said = (
            f"{these} is not read, as it is not granted to this account: take it out of the "
            "agent's roles, or have the server's owner grant it"
        )
        return replace(self, degraded=said)
