# SPDX-License-Identifier: Apache-2.0
"""Look into an inbox without claiming anything.

    >>> (await peek(session, 20, None, None)).seen[0].state
    'stored'

Reads the stored tasks in the order in which they would be claimed. That takes a right which an
agent's connection to a shared server does not have: it could read every inbox with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Found
from mcp_agentbus.core import ids as names
from mcp_agentbus.core.aio import together
from mcp_agentbus.core.ids import LANES, TASKS
from mcp_agentbus.errors import BadInput
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import codec as wire
from mcp_agentbus.store.records import read_record
from mcp_agentbus.store.task import Record, State, Task

# A thread is looked for among this many stored tasks at most; more is said, not searched.
_SEARCHED_MAX: Final = 1_000
_BATCH: Final = 100


@dataclass(frozen=True)
class Seen:
    """A stored task, and who holds it."""

    task: Task
    #: None if nobody has touched it yet.
    record: Record | None = None

    @property
    def state(self) -> State:
        """The task's state."""
        return self.record.state if self.record else "stored"

    @property
    def holder(self) -> str:
        """The session that holds it, as `agent/session`; empty if nobody does."""
        if self.record is None or self.state == "stored":
            return ""
        return f"{self.record.agent}/{self.record.session}"


@dataclass(frozen=True)
class Glance:
    """What a look into the inbox brought."""

    seen: tuple[Seen, ...]
    notes: tuple[str, ...]
    next_cursor: str | None


async def peek(session: Session, limit: int, thread_id: str | None, cursor: str | None) -> Glance:
    """Return up to `limit` stored tasks from `cursor` on, high before normal before low.

    Raises:
        BadInput: the cursor is not one of a peek.
        BusUnreachable, NotAllowed: as `Bus.many`.
    """
    lanes = [(lane, inbox) for lane in LANES for inbox in session.inboxes]
    place, seq = _position(cursor, len(lanes))
    seen: list[Seen] = []
    notes: list[str] = []
    searched = 0
    while place < len(lanes) and len(seen) < limit and searched < _SEARCHED_MAX:
        lane, inbox = lanes[place]
        batch = _BATCH if thread_id else limit - len(seen)
        request = {
            "seq": seq,
            "batch": batch,
            "next_by_subj": names.task_subject(inbox, lane, "*"),
        }
        found = await session.bus.admin.many(TASKS, request)
        searched += len(found)
        for one, view in zip(
            found, await together(*(at(session.bus, one) for one in found)), strict=True
        ):
            if len(seen) == limit:
                break
            seq = one.seq + 1
            if isinstance(view, str):
                notes.append(f"A stored message cannot be read: {view}. The next reader parks it.")
            elif view and thread_id in {None, view.task.thread_id}:
                seen.append(view)
        else:
            if len(found) < batch:
                place, seq = place + 1, 1
    more = place < len(lanes)
    if more and len(seen) < limit:
        notes.append(f"{_SEARCHED_MAX} stored tasks were searched; go on with the cursor.")
    return Glance(tuple(seen), tuple(notes), f"peek-{place}-{seq}" if more else None)


async def at(bus: Bus, found: Found) -> Seen | str | None:
    """Return a stored task with its state; a text if it is none; None if it is over."""
    try:
        task = wire.decode_task(found.subject, found.headers, found.data, found.stored_at)
        record, _ = await read_record(bus, task.sender, task.to, task.id)
    except wire.Undecodable as error:
        return str(error)
    return None if record and record.ended else Seen(task, record)


def _position(cursor: str | None, lanes: int) -> tuple[int, int]:
    if cursor is None:
        return 0, 1
    kind, _, rest = cursor.partition("-")
    place, _, seq = rest.partition("-")
    if kind != "peek" or not (place.isdecimal() and seq.isdecimal()) or len(rest) > 24:
        raise BadInput(
            "The cursor is not one of a peek.", hint="Use next_cursor of the answer before."
        )
    return min(int(place), lanes), int(seq)
