# SPDX-License-Identifier: Apache-2.0
"""Follow an inbox from outside: one event for each change, nothing claimed, nothing marked as seen.

    async for event in follow(bus, agent):
        print(event.text)     # 2026-11-20 18:03:11Z waiting: 1 high, 2 normal

An event holds counts, ids and states, and no text of a peer: hosts read such lines as their own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Message
from mcp_agentbus.core import text
from mcp_agentbus.core.ids import Agent, Priority
from mcp_agentbus.core.text import now
from mcp_agentbus.errors import BusUnreachable, Unconfirmed
from mcp_agentbus.store import streams, subjects, waiting
from mcp_agentbus.store.records import record_in
from mcp_agentbus.store.task import Record

# In seconds: tasks that a dead session gives back come without a word.
_LOOK_AGAIN_S: Final = 5.0
# How long one look for a server may take that has gone, in seconds; then comes the next.
_RECONNECT_S: Final = 60.0


@dataclass(frozen=True)
class Event:
    """Something that changed: as a line for a person, and as data for `--json`."""

    text: str
    data: dict[str, Any]


async def follow(bus: Bus, agent: Agent) -> AsyncIterator[Event]:
    """Yield an event when the waiting tasks change, or what became of a sent task.

    The first one tells what waits now.

    Raises:
        BusUnreachable, NotAllowed: at the start; later it waits for the bus to come back.
    """
    changed = asyncio.Event()
    records: asyncio.Queue[Event] = asyncio.Queue()

    def on_wake(_: Message | None) -> None:
        changed.set()

    def on_record(message: Message | None) -> None:
        if message:
            record = record_in(message)
            if record:
                records.put_nowait(_record_event(record))
        changed.set()

    await streams.ensure_streams(bus)
    async with contextlib.AsyncExitStack() as stack:
        for inbox in agent.inboxes:
            await streams.ensure_inbox(bus, inbox)
            await stack.enter_async_context(bus.subscribed(subjects.wake_subject(inbox), on_wake))
        mine = subjects.record_subject(agent.id, "*", "*")
        await stack.enter_async_context(bus.subscribed(mine, on_record))
        last: dict[Priority, int] | None = None
        while True:
            # Waiting for a server does not start one: `agentbus server stop` stands.
            if not await bus.reconnected(_RECONNECT_S):
                continue
            changed.clear()
            while not records.empty():
                yield records.get_nowait()
            with contextlib.suppress(BusUnreachable, Unconfirmed):
                counts = await waiting.counts(bus, agent.inboxes)
                if counts != last:
                    last = counts
                    yield _waiting_event(counts)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN_S):
                    await changed.wait()


def _waiting_event(counts: Mapping[Priority, int]) -> Event:
    at = now()
    what = ", ".join(f"{count} {lane}" for lane, count in counts.items() if count) or "nothing"
    return Event(
        f"{at:%Y-%m-%d %H:%M:%SZ} waiting: {what}",
        {"event": "waiting", "at": text.stamp(at), "waiting": counts},
    )


def _record_event(record: Record) -> Event:
    at = record.updated_at
    return Event(
        f"{at:%Y-%m-%d %H:%M:%SZ} task {record.task_id}: {record.state} by {record.agent}",
        {
            "event": "task",
            "at": text.stamp(at),
            "task_id": record.task_id,
            "state": record.state,
            "agent": record.agent,
        },
    )
