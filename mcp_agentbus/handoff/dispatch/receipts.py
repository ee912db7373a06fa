# SPDX-License-Identifier: Apache-2.0
"""What a sender is told of one addressee, once its task is stored or was refused.

    >>> receipt_of("coder", entry, task, kept).wake
    'held'

A receipt says that the task is stored, never that anybody saw it.
"""

from __future__ import annotations

from typing import Any, Literal

from mcp_agentbus.core.ids import WAKE_ON
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.store.outbox.outbox import KeptHere
from mcp_agentbus.store.registered.presence import REMOVED
from mcp_agentbus.store.roster import Entry
from mcp_agentbus.store.task import Receipt, Task
from mcp_agentbus.store.tasks import Kept


def receipt_of(
    address: str, entry: Entry | None, task: Task, outcome: Kept | KeptHere | BaseException
) -> Receipt:
    """Return the receipt of a task for one addressee.

    Args:
        address: as the sender gave it.
        entry: what the roster says of the addressee; None if that cannot be read.
        task: what was to be stored.
        outcome: what was stored, on the bus or here, or why nothing was.
    """
    common: dict[str, Any] = {
        "task_id": task.id,
        "to": address,
        "recipient": entry.state if entry else "not known",
        "last_seen": entry.last_seen if entry else None,
    }
    if isinstance(outcome, BaseException):
        why = _why(outcome)
        return Receipt(**common, state="refused", reason=why, expires_at=task.expires_at)
    if isinstance(outcome, KeptHere):
        return Receipt(
            **common,
            state="stored_here",
            wake="not_known",
            duplicate=outcome.duplicate,
            reason=outcome.why,
            notify=task.notify,
            expect=task.expect,
            deliver_at=task.deliver_at,
            expires_at=task.expires_at,
        )
    wake, reason = _wake(task, entry)
    return Receipt(
        **common,
        duplicate=outcome.duplicate,
        wake=wake,
        reason=reason,
        notify=outcome.sent.notify,
        expect=task.expect,
        deliver_at=outcome.sent.deliver_at,
        expires_at=outcome.sent.expires_at,
    )


def _why(failure: BaseException) -> str:
    return f"{failure.message} {failure.hint}" if isinstance(failure, AgentbusError) else ""


def _wake(
    task: Task, entry: Entry | None
) -> tuple[Literal["requested", "held", "not_known", "not_requested"], str]:
    """Return what is known about a wake when the task is stored."""
    # Whom high wakes is known without a roster; who is woken for more, only by it.
    wakes = entry.wakes_on(task.priority) if entry else task.priority in WAKE_ON
    if not wakes or task.expect == "nothing":
        return "not_requested", ""
    if entry is None:
        return "not_known", "the roster cannot be read"
    if entry.state == "removed":
        return "held", REMOVED
    held = entry.held_for(task.sender, task.priority)
    if held is not None:
        return ("held", held) if held else ("requested", "")
    if entry.state == "not known":
        return "not_known", "the bus server has just started and has not heard from its listener"
    then = "the task is seen when a session of the agent starts"
    if entry.state == "live session":
        then = "a live session sees the task at its next call"
    return "held", f"no listener that runs is set up for it; {then}"
