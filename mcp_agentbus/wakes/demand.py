# SPDX-License-Identifier: Apache-2.0
"""What waits for an agent and may wake it; looked at from outside, nothing taken.

    >>> (await look(bus, "coder", ("coder",))).counts
    Counts(high=1, others=4, results=0)

The answer is made anew at each look from what is stored, so it does not matter which signs of it
were missed: a listener that slept, or died, finds the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import NO_SUCH_CONSUMER, ApiError
from mcp_agentbus.core.aio import both, together
from mcp_agentbus.core.notices import Counts
from mcp_agentbus.store import codec, streams, subjects, tasks
from mcp_agentbus.store.records import may_hold, read_sent
from mcp_agentbus.store.subjects import RESULTS, TASKS
from mcp_agentbus.store.task import TOLD, Record
from mcp_agentbus.wakes.policy import Waiting

# A wake names at most so many tasks of one sender, and senders; the rest is in the counts.
_TASKS_MAX: Final = 50
_SENDERS_MAX: Final = 50
_RESULTS_MAX: Final = 100


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
    lanes, (found, *urgent) = await both(
        streams.waiting_by_lane(bus, inboxes), _things(bus, agent, inboxes)
    )
    tasks = [one for few in urgent for one in few]
    high, others = max(lanes["high"], len(tasks)), lanes["normal"] + lanes["low"]
    return Looked(Counts(high=high, others=others, results=len(found)), (*tasks, *found))


async def _things(bus: Bus, agent: str, inboxes: Sequence[str]) -> list[list[Waiting]]:
    return await together(results(bus, agent), *(_urgent(bus, inbox) for inbox in inboxes))


async def _urgent(bus: Bus, inbox: str) -> list[Waiting]:
    """Return the high tasks of an inbox that nobody holds: the oldest of each sender."""
    subject = subjects.task_subject(inbox, "high", "*")
    stored = await bus.admin.many(TASKS, _oldest(subject))
    if len(stored) == _TASKS_MAX:
        latest = await bus.admin.many(TASKS, {"multi_last": [subject]})
        ways = (bus.admin.many(TASKS, _oldest(one.subject)) for one in latest[:_SENDERS_MAX])
        stored = [one for few in await together(*ways) for one in few]
    waiting: list[Waiting] = []
    for seen in await together(*(tasks.at(bus, one) for one in stored)):
        if not isinstance(seen, tasks.Seen):
            continue
        if seen.record is None or not await may_hold(bus, seen.record):
            task = seen.task
            key = f"task {task.to} {task.id}"
            waiting.append(Waiting(key, "task", task.id, task.sender, task.sender, task.to))
    return waiting


def _oldest(subject: str) -> dict[str, Any]:
    return {"seq": 1, "batch": _TASKS_MAX, "next_by_subj": subject}


async def results(bus: Bus, agent: str) -> list[Waiting]:
    """Return the ends of sent tasks that no session of the agent has been shown yet."""
    subject = subjects.record_subject(agent, "*", "*")
    start = 1
    try:
        info = await bus.api(f"CONSUMER.INFO.{RESULTS}.{subjects.results_consumer(agent)}")
        start += int(info["ack_floor"]["stream_seq"])
    except ApiError as error:
        if error.code != NO_SUCH_CONSUMER:  # an agent that has sent and never read has none
            raise
    request = {"seq": start, "batch": _RESULTS_MAX, "next_by_subj": subject}
    found: list[tuple[Record, int]] = []
    for one in await bus.admin.many(RESULTS, request):
        with suppress(codec.Undecodable):
            record = codec.decode_record(one.subject, one.data)
            if record.state in TOLD and record.notify != "never":
                found.append((record, one.seq))
    sents = await together(*(read_sent(bus, agent, one.inbox, one.task_id) for one, _ in found))
    return [
        _result(record, revision)
        for (record, revision), (sent, _) in zip(found, sents, strict=True)
        if sent is None or sent.seen_revision < revision
    ]


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
