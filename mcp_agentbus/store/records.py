# SPDX-License-Identifier: Apache-2.0
"""The three records of a task: read, step forward, written back only if nobody else wrote.

    >>> record, revision = await read_record(bus, "planner", "coder", task_id)
    >>> await write_record(bus, step(record, "working", me), revision)

The worker's record fences: JetStream's own acknowledgements do not, so a session that lost its
claim while it slept finds out here (`Conflict`) and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, TypeVar

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Conflict, Found
from mcp_agentbus.core import ids
from mcp_agentbus.core.text import now
from mcp_agentbus.store import codec, roster, subjects
from mcp_agentbus.store.subjects import RESULTS
from mcp_agentbus.store.task import CLAIM_MAX_S, HELD, Moment, Record, Sent, State, Task, Wakes

_T = TypeVar("_T")
# Steps of a task's life that its record keeps: the first, and the latest of the others.
_HISTORY_MAX: Final = 40
# Steps of wakes: four wakes of a start and an end, and some holds.
_WAKES_MAX: Final = 20


async def read_record(bus: Bus, owner: str, inbox: str, task_id: str) -> tuple[Record | None, int]:
    """Return the worker's record of a task and its revision; (None, 0) if there is none.

    `owner` and `inbox` may be `*`, since a task's id is unique. What is stored there and cannot be
    read counts as none: whoever writes next replaces it.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    return await _read(bus, subjects.record_subject(owner, inbox, task_id), codec.decode_record)


def record_in(stored: Found) -> Record | None:
    """Return the worker's record that is stored there; None if it cannot be read."""
    with suppress(codec.Undecodable):
        return codec.decode_record(stored.subject, stored.data)
    return None


async def read_sent(bus: Bus, owner: str, inbox: str, task_id: str) -> tuple[Sent | None, int]:
    """Return the sender's record of a task and its revision, as `read_record`."""
    return await _read(bus, subjects.sent_subject(owner, inbox, task_id), codec.decode_sent)


async def _read(
    bus: Bus, subject: str, decode: Callable[[str, bytes], _T]
) -> tuple[_T | None, int]:
    found = await bus.last(RESULTS, subject)
    if not found:
        return None, 0
    with suppress(codec.Undecodable):
        return decode(found.subject, found.data), found.seq
    return None, found.seq


async def write_record(bus: Bus, record: Record, revision: int) -> int:
    """Store the worker's record if its revision is still `revision`; return the new one.

    Raises:
        Conflict: somebody else has written it.
        BusUnreachable, Unconfirmed, NotAllowed, StoreFull: as `Bus.publish`.
    """
    subject = subjects.record_subject(record.owner, record.inbox, record.task_id)
    return await bus.replace(subjects.RESULTS, subject, codec.encode_record(record), revision)


async def write_sent(bus: Bus, sent: Sent, revision: int) -> int:
    """Store the sender's record if its revision is still `revision`; return the new one.

    Raises: as `write_record`.
    """
    subject = subjects.sent_subject(sent.owner, sent.inbox, sent.task_id)
    return await bus.replace(subjects.RESULTS, subject, codec.encode_sent(sent), revision)


async def read_wakes(bus: Bus, owner: str, inbox: str, task_id: str) -> tuple[Wakes | None, int]:
    """Return what listeners did about a task, and the revision, as `read_record`."""
    return await _read(bus, subjects.wakes_subject(owner, inbox, task_id), codec.decode_wakes)


async def add_wake(bus: Bus, owner: str, inbox: str, task_id: str, moment: Moment) -> None:
    """Write down one step of a wake, unless it says the same as the last one.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed, StoreFull: as `Bus.publish`.
    """
    subject = subjects.wakes_subject(owner, inbox, task_id)
    while True:
        found, revision = await read_wakes(bus, owner, inbox, task_id)
        before = found.moments if found else ()
        if before and before[-1].model_copy(update={"at": moment.at}) == moment:
            return
        wakes = Wakes(
            task_id=task_id, owner=owner, inbox=inbox, moments=(*before, moment)[-_WAKES_MAX:]
        )
        with suppress(Conflict):  # a listener on another machine wrote at the same moment
            await bus.replace(subjects.RESULTS, subject, codec.encode_wakes(wakes), revision)
            return


def sent_of(task: Task) -> Sent:
    """Return what the sender keeps of a task that it has just sent."""
    return Sent(
        task_id=task.id,
        owner=task.sender,
        inbox=task.to,
        subject=task.subject,
        thread_id=task.thread_id,
        priority=task.priority,
        owner_session=task.session,
        notify=task.notify,
        created_at=task.created_at,
        expires_at=task.expires_at,
        deliver_at=task.deliver_at,
    )


def first_record(sent: Sent) -> Record:
    """Return the record of a task that nobody has touched yet, from what its sender knows."""
    return Record(
        task_id=sent.task_id,
        owner=sent.owner,
        inbox=sent.inbox,
        state="stored",
        agent=sent.owner,
        subject=sent.subject,
        thread_id=sent.thread_id,
        priority=sent.priority,
        owner_session=sent.owner_session,
        notify=sent.notify,
        updated_at=sent.created_at,
        history=(Moment(state="stored", at=sent.created_at, by=sent.owner),),
    )


def step(record: Record, state: State, agent: str, session: str = "", **changes: Any) -> Record:
    """Return the record one step further on, taken now by `agent`."""
    at = now()
    moment = Moment(state=state, at=at, by=agent, reason=str(changes.get("reason", "")))
    latest = (*record.history[1:], moment)[-(_HISTORY_MAX - 1) :]
    return record.model_copy(
        update={
            "state": state,
            "agent": agent,
            "session": session,
            "updated_at": at,
            "history": (*record.history[:1], *latest),
            **changes,
        }
    )


async def may_hold(bus: Bus, record: Record) -> bool:
    """Tell whether a session holds a task, or may hold it, by the task's record.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    if record.state not in HELD or not record.session:
        return False
    if record.session.startswith(ids.SHELL_PREFIX):
        # A lease: between two commands nothing of a shell's session gives a sign of life.
        return now() < record.updated_at + timedelta(seconds=CLAIM_MAX_S)
    return await roster.may_live(bus, record.agent, record.session)
