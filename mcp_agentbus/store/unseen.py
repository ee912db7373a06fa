# SPDX-License-Identifier: Apache-2.0
"""Results that no session of their agent has confirmed as seen: looked up, and nothing taken.

    >>> await look_up(bus, "planner", 5)
    [Unseen(record=Record(state='completed', ...), revision=18)]

A consumer hands a result out once and then only after a while, so a look that takes from one says
nothing of what another session has taken. This one reads what is stored: it finds the same however
often, and whoever looks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import NO_SUCH_CONSUMER, ApiError
from mcp_agentbus.core.aio import together
from mcp_agentbus.store import roster, subjects
from mcp_agentbus.store.records import read_sent, record_in
from mcp_agentbus.store.subjects import RESULTS
from mcp_agentbus.store.task import TOLD, Record

_PAGE: Final = 100


@dataclass(frozen=True)
class Unseen:
    """A result as it is stored."""

    record: Record
    revision: int


async def look_up(
    bus: Bus,
    agent: str,
    limit: int,
    *,
    session: str = "",
    thread_id: str | None = None,
    search_max: float = math.inf,
) -> list[Unseen]:
    """Return up to `limit` results of an agent's tasks, the oldest first.

    Args:
        bus: where they lie.
        agent: whose tasks.
        limit: at most so many.
        session: leave out what another session of the agent has sent that lives; none if empty.
        thread_id: only of this conversation.
        search_max: go through about so many records after the oldest unseen one, and no more.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    unseen: list[Unseen] = []
    searched = 0
    start = 1 + await _confirmed(bus, agent)
    others = await roster.live_sessions(bus, agent) - {session} if session else frozenset()
    subject = subjects.record_subject(agent, "*", "*")
    async with aclosing(bus.admin.stored(RESULTS, subject, start=start, page=_PAGE)) as pages:
        async for messages in pages:
            ends = [
                Unseen(record, message.seq)
                for message in messages
                if (record := record_in(message)) and record.state in TOLD
                if thread_id in {None, record.thread_id}
                if record.owner_session not in others
            ]
            unseen += await _unseen(bus, ends)
            searched += len(messages)
            if len(unseen) >= limit or searched >= search_max:
                break
    return unseen[:limit]


async def _unseen(bus: Bus, ends: Sequence[Unseen]) -> list[Unseen]:
    records = [end.record for end in ends]
    sents = await together(
        *(read_sent(bus, record.owner, record.inbox, record.task_id) for record in records)
    )
    return [
        end
        for end, (sent, _) in zip(ends, sents, strict=True)
        if sent is None or sent.seen_revision < end.revision
    ]


async def _confirmed(bus: Bus, agent: str) -> int:
    """Return up to which sequence the agent has confirmed results; 0 if it has never read any."""
    try:
        info = await bus.api(f"CONSUMER.INFO.{RESULTS}.{subjects.results_consumer(agent)}")
    except ApiError as error:
        if error.code != NO_SUCH_CONSUMER:
            raise
        return 0
    return int(info["ack_floor"]["stream_seq"])
