# SPDX-License-Identifier: Apache-2.0
"""What waits for an agent and may wake it; looked at from outside, nothing taken.

    >>> (await look(bus, "coder", ("coder",))).counts
    Counts(high=1, others=4, results=0)

The answer is made anew at each look from what is stored, so it does not matter which signs of it
were missed: a listener that slept, or died, finds the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Found
from mcp_agentbus.core.aio import both, together
from mcp_agentbus.core.notices import Counts
from mcp_agentbus.store import roster, streams, subjects, tasks, unseen
from mcp_agentbus.store.subjects import TASKS
from mcp_agentbus.store.task import Record
from mcp_agentbus.wakes.policy import Waiting

# A wake names at most so many tasks of one sender, and senders; the rest is in the counts.
_TASKS_MAX: Final = 50
_SENDERS_MAX: Final = 50
_RESULTS_MAX: Final = 100
# Records that are searched for results: a hook waits for the answer, and a notice may be late.
_RECORDS_MAX: Final = 1_000


@dataclass(frozen=True)
class Looked:
    """What waits."""

    counts: Counts
    #: High tasks that no live session holds, and results that no session was shown.
    things: tuple[Waiting, ...]


async def look(bus: Bus, agent: str, inboxes: Sequence[str]) -> Looked:
    """Return what waits for an agent in its inboxes, and which of its results nobody has seen.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    # All at once: an urgent task waits for the slowest of them only.
    lanes, (results, *by_inbox) = await both(
        streams.waiting_by_lane(bus, inboxes), _things(bus, agent, inboxes)
    )
    high_tasks = [task for tasks_there in by_inbox for task in tasks_there]
    counts = Counts(
        # A task of a session that died does not count in its lane until it is offered again.
        high=max(lanes["high"], len(high_tasks)),
        others=lanes["normal"] + lanes["low"],
        results=len(results),
    )
    return Looked(counts, (*high_tasks, *results))


async def _things(bus: Bus, agent: str, inboxes: Sequence[str]) -> list[list[Waiting]]:
    """Return the results, then the high tasks of each inbox."""
    return await together(_results(bus, agent), *(_high_tasks(bus, inbox) for inbox in inboxes))


async def _high_tasks(bus: Bus, inbox: str) -> list[Waiting]:
    """Return the high tasks of an inbox that nobody holds, oldest first; see `_stored`."""
    seen = await together(*(tasks.at(bus, stored) for stored in await _stored(bus, inbox)))
    return [
        _task(task)
        for task in seen
        if isinstance(task, tasks.Seen) and not await _is_held(bus, task)
    ]


async def _stored(bus: Bus, inbox: str) -> list[Found]:
    """Return the oldest high tasks of an inbox; where many are stored, the oldest of each sender.

    One sender's flood, which its limits may hold, must not hide the task of another one.
    """
    subject = subjects.task_subject(inbox, "high", "*")
    stored = await bus.admin.many(TASKS, _oldest(subject))
    if len(stored) < _TASKS_MAX:
        return stored
    latest = await bus.admin.many(TASKS, {"multi_last": [subject]})
    of_senders = (bus.admin.many(TASKS, _oldest(last.subject)) for last in latest[:_SENDERS_MAX])
    return [task for of_sender in await together(*of_senders) for task in of_sender]


def _oldest(subject: str) -> dict[str, Any]:
    return {"seq": 1, "batch": _TASKS_MAX, "next_by_subj": subject}


async def _is_held(bus: Bus, seen: tasks.Seen) -> bool:
    return seen.record is not None and await roster.may_hold(bus, seen.record)


def _task(seen: tasks.Seen) -> Waiting:
    task = seen.task
    key = f"task {task.to} {task.id}"
    return Waiting(key, "task", task.id, task.sender, task.sender, task.to)


async def _results(bus: Bus, agent: str) -> list[Waiting]:
    """Return the ends of sent tasks that no session of the agent has been shown yet."""
    results = await unseen.look_up(bus, agent, _RESULTS_MAX, search_max=_RECORDS_MAX)
    return [_result(end.record, end.revision) for end in results if end.record.notify != "never"]


def _result(record: Record, revision: int) -> Waiting:
    return Waiting(
        f"result {record.task_id} {revision}",
        "result",
        record.task_id,
        record.inbox,
        record.owner,
        record.inbox,
        live_only=record.notify != "wake",
        session=record.owner_session,
    )
