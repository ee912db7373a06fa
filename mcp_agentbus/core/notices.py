# SPDX-License-Identifier: Apache-2.0
"""The fixed texts of wakes: numbers, and not one byte that a peer has chosen.

>>> text(Counts(high=1, others=1))
'2 tasks wait in your agentbus inbox, 1 of them high priority. Call read_inbox.'
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

#: Why a wake is held, by `policy.Reason`, as receipts and records say it.
WHY: Final = {
    "not_allowed": "its user does not let this sender wake it",
    "quiet_hours": "its user's quiet hours",
    "sender_rate": "this sender has woken it as often as an hour allows",
    "agent_rate": "it was woken as often as an hour allows",
    "daily_budget": "it was woken as often, or spent as much, as a day allows",
    "running": "another wake is under way",
    "backoff": "the last wake left it waiting; it is tried again later",
    "gave_up": "several wakes left it waiting",
    "profile": "its user wants no session started for it",
    "unknown_host": "its user has not said how to start a session (agentbus agent add)",
    "deaf_session": "a live session is open that sees the task at its next call",
    "ledger": "its listener cannot record wakes",
}


@dataclass(frozen=True)
class Counts:
    """What waits for an agent."""

    high: int = 0
    #: Tasks of normal and low priority.
    others: int = 0
    #: Results of tasks that it sent.
    results: int = 0


def text(counts: Counts) -> str:
    """Return the notice of what waits; of nothing in particular if all are 0."""
    said = []
    if tasks := counts.high + counts.others:
        waits = "task waits" if tasks == 1 else "tasks wait"
        how_many = (
            "it is" if tasks == 1 else "all" if not counts.others else f"{counts.high} of them"
        )
        urgent = f", {how_many} high priority" if counts.high else ""
        said.append(f"{tasks} {waits} in your agentbus inbox{urgent}")
    if counts.results:
        came = "result of a task" if counts.results == 1 else "results of tasks"
        said.append(f"{counts.results} {came} that you sent with agentbus can be read")
    return f"{'; '.join(said) or 'Your agentbus inbox has changed'}. Call read_inbox."


Reason = Literal[
    "nothing",  # nothing waits that may wake
    "not_allowed",  # its sender may not wake this agent
    "quiet_hours",
    "sender_rate",  # its sender has woken this agent often enough for this hour
    "agent_rate",  # the agent was woken often enough for this hour
    "daily_budget",  # or for this day, or has spent its money for this day
    "running",  # a wake is under way; this one is looked at when it ends
    "backoff",  # the last wake led to no read; tried again later
    "gave_up",  # several wakes led to no read
    "profile",  # its user wants no process started for it
    "unknown_host",  # nobody has said how to start it
    "deaf_session",  # a live session is open that cannot be told; no second one is started
    "ledger",  # what was woken cannot be recorded
]
