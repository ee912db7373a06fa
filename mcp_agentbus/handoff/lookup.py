# SPDX-License-Identifier: Apache-2.0
"""A task's whole life by its id, whether this agent sent it or got it.

>>> (await task_life(session, task_id)).state
'working'
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core import ids
from mcp_agentbus.core.aio import together
from mcp_agentbus.core.ids import LANES
from mcp_agentbus.core.text import now
from mcp_agentbus.errors import BadInput, UnknownTask
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import subjects
from mcp_agentbus.store.records import first_record, read_record, read_sent, read_wakes
from mcp_agentbus.store.subjects import TASKS
from mcp_agentbus.store.task import Moment, Record, Sent, State, Task, Wakes
from mcp_agentbus.store.tasks import Seen, at


@dataclass(frozen=True)
class Life:
    """What is known of one task."""

    #: Its state now; a deadline that passed counts even before anybody has written it down.
    state: State
    record: Record
    #: The sender's record; None if only the worker's is left.
    sent: Sent | None
    #: The task itself; None if this session does not hold it.
    task: Task | None
    #: What listeners did about it.
    wakes: tuple[Moment, ...] = ()

    @property
    def history(self) -> tuple[Moment, ...]:
        """The steps of its life and of its wakes, in the order of time."""
        return tuple(sorted((*self.record.history, *self.wakes), key=lambda one: one.at))


async def task_life(session: Session, task_id: str) -> Life:
    """Return what is known of a task; claims nothing.

    Raises:
        BadInput: it is not a task id.
        UnknownTask: this agent neither sent nor received it.
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    ids.task_id(task_id)
    await session.called()
    me, bus = session.me.id, session.bus
    ways = [(me, "*"), *(("*", inbox) for inbox in session.inboxes)]
    known = await together(*(_known(bus, *way, task_id) for way in ways))
    record = next((one for one, _, _ in known if one), None)
    sent = next((one for _, one, _ in known if one), None)
    claim = session.claims.get(task_id)
    if record is None:
        if sent is None:
            raise UnknownTask(f"{me} neither sent nor received a task {task_id}.")
        record = first_record(sent)
    state = record.state
    if sent and not record.ended and now() >= sent.expires_at:
        state = "expired"
    woken = next((one for _, _, one in known if one), None)
    moments = woken.moments if woken else ()
    return Life(state, record, sent, claim.task if claim else None, moments)


async def _known(
    bus: Bus, owner: str, inbox: str, task_id: str
) -> tuple[Record | None, Sent | None, Wakes | None]:
    """Return what is stored about a task."""
    (record, _), (sent, _), (wakes, _) = await asyncio.gather(
        read_record(bus, owner, inbox, task_id),
        read_sent(bus, owner, inbox, task_id),
        read_wakes(bus, owner, inbox, task_id),
    )
    return record, sent, wakes


# A thread is looked for among this many stored tasks at most; more is said, not searched.
_SEARCHED_MAX: Final = 1_000
_BATCH: Final = 100


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
            "next_by_subj": subjects.task_subject(inbox, lane, "*"),
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
