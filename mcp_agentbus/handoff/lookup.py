# SPDX-License-Identifier: Apache-2.0
"""A task's whole life by its id, whether this agent sent it or got it.

>>> (await task_life(session, task_id)).state
'working'
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core import ids as names
from mcp_agentbus.core.aio import together
from mcp_agentbus.errors import UnknownTask
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store.records import first_record, now, read_record, read_sent, read_wakes
from mcp_agentbus.store.task import Moment, Record, Sent, State, Task, Wakes


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
    names.task_id(task_id)
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
