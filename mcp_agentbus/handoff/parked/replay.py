# SPDX-License-Identifier: Apache-2.0
"""Offer again what was set aside, as a person asks for it.

    >>> await replay(bus, ["coder"], "9d0c2f")

What was parked is removed last, so a crash before that offers the task once and lists it still.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Conflict, Found
from mcp_agentbus.core import ids, text
from mcp_agentbus.errors import AgentbusError, AlreadyEnded, NotAllowed, Refused, UnknownTask
from mcp_agentbus.handoff.parked.parking import Parked, parked, store_moved
from mcp_agentbus.handoff.views.own_agents import of_this_user
from mcp_agentbus.store import records, roster, subjects
from mcp_agentbus.store.queries.clock import has_come
from mcp_agentbus.store.queries.numbered import numbered
from mcp_agentbus.store.records import Written, record_key, sent_key, write_record
from mcp_agentbus.store.steps import Lost, Write, step
from mcp_agentbus.store.subjects import DEAD
from mcp_agentbus.store.task import HELD, Record, Sent

_LISTED: Final = "`agentbus parked` lists what is parked, with its id and number."


async def replay(bus: Bus, inboxes: Sequence[str], which: str) -> Parked:
    """Offer a parked task again, as if it had just been sent; `which` is its id or number.

    Raises:
        BadInput: several parked tasks begin with it.
        UnknownTask: nothing parked in these inboxes has that id or number.
        Refused: its deadline has passed, or it was offered again before and has gone on since.
        AlreadyEnded: it has another end; what was parked of it is there no more.
        InboxFull, ...: as `Bus.publish`; then it stays parked.
    """
    chosen = await _named(bus, inboxes, which)
    if chosen.task and await has_come(bus, chosen.task.expires_at):
        raise Refused(
            f"The deadline of task {chosen.task.id} has passed; it would expire at once.",
            hint="Send it anew; `agentbus parked --json` shows its text.",
        )
    stored = await _stands(bus, chosen)
    if stored is None:
        what = f"{which[:70]!r} is parked no more: somebody else has just offered it again."
        raise UnknownTask(what, hint=_LISTED)
    lane, sender = subjects.parts(stored.subject).rest
    removed = partial(_remove, bus, chosen)
    begun = chosen.task and await _begin_anew(bus, sender, chosen.inbox, chosen.task.id)
    if isinstance(begun, Lost):
        await removed()
        raise _is_over(begun.record)
    try:
        lies_in = subjects.task_subject(chosen.inbox, lane, sender)
        offered = await store_moved(bus, stored, lies_in, {}, "replay", stream=subjects.TASKS)
    except Refused:
        if begun:
            with suppress(AgentbusError, Conflict):  # it says `stored` until it is offered again
                await _put_back(bus, begun)
        raise
    if chosen.task:
        lies_at = partial(_renewed, seq=offered.seq)
        await _renew_sent(bus, sender, chosen.inbox, chosen.task.id, lies_at)
    await removed()
    return chosen


async def _stands(bus: Bus, chosen: Parked) -> Found | None:
    """Return the message of a parked task; None if what has its number is gone, or another."""
    message = await numbered(bus, DEAD, chosen.number)
    return message if message and message.stored_at == chosen.parked_at else None


async def _remove(bus: Bus, chosen: Parked) -> None:
    if await _stands(bus, chosen):
        await bus.api(f"STREAM.MSG.DELETE.{DEAD}", {"seq": chosen.number})


def _is_over(record: Record) -> AlreadyEnded:
    return AlreadyEnded(
        f"Task {record.task_id} is over: {record.state}. It is not offered again, and what was "
        "parked of it is removed.",
        hint="`agentbus task ID` shows what came of it; what is still to be done is sent anew.",
    )


async def _named(bus: Bus, inboxes: Sequence[str], which: str) -> Parked:
    if named := await _parked_as(bus, inboxes, which):
        return named
    mine = set(of_this_user(bus.settings))
    whose = "your agents" if mine <= set(inboxes) else ids.address_of(inboxes[0])
    said = f"No task {which[:70]!r} is parked for {whose}"
    other = await _parked_as(bus, mine, which)
    if other is None or not ids.is_inbox(other.inbox):
        raise UnknownTask(f"{said}.", hint=_LISTED)
    to = ids.address_of(other.inbox)
    who = "An agent that holds" if ids.is_role_address(to) else "A session of"
    raise UnknownTask(f"{said}, but one is for {to}.", hint=f"{who} {to} can replay it.")


async def _parked_as(bus: Bus, inboxes: Collection[str], which: str) -> Parked | None:
    """Return the parked task that has this number, this id, or alone an id that begins so."""
    all_of_them = [each for inbox in inboxes for each in await parked(bus, inbox)]
    whole = ids.whole_task_id(which, {each.task.id for each in all_of_them if each.task})
    for candidate in all_of_them:
        if str(candidate.number) == which or (candidate.task and candidate.task.id == whole):
            return candidate
    return None


@dataclass(frozen=True)
class _Begun:
    """A task whose life was begun again, as it stood before."""

    record: Record
    #: By which that can be put back.
    revision: int
    #: Its sender had seen that it was set aside.
    was_seen: bool


async def _begin_anew(bus: Bus, sender: str, inbox: str, task_id: str) -> _Begun | Lost | None:
    """Begin a task's life again in its record, unless a session that lives holds the task.

    Returns:
        What was begun; None if the record stands there still. `Lost` if the task has an end other
        than that it was set aside: it is parked twice where somebody was cut off, and what was
        offered again once may be done.
    """
    key = record_key(sender, inbox, task_id)
    standing, revision = await records.read(bus, key)
    if standing is None or await roster.may_hold(bus, standing):
        return None
    before = standing

    def offered_again(record: Record | None) -> Write[Record] | Lost | None:
        nonlocal before
        if record and record.ended and record.state != "parked":
            return Lost(record)
        # Whoever parked it may have ended before the record said so: then a session stands there
        # that is gone. Any other has claimed it since, when somebody else offered it again.
        if record is None or (record.state in HELD and record.session != standing.session):
            return None
        if record.state == "stored" and not record.attempts:
            return None
        before = record
        reason = "offered again by a person"
        return Write(step(record, "stored", inbox, "", text.now(), attempts=0, reason=reason))

    written: Written[Record] | Lost | None
    written = await records.update(bus, key, offered_again, known=(standing, revision))
    if isinstance(written, Lost):
        return written
    was_seen = False

    def opened(sent: Sent | None) -> Write[Sent] | None:
        nonlocal was_seen
        was_seen = sent is not None and sent.closed
        return _renewed(sent, closed=False)

    # Its deadline is looked at again, which had ended for its sender.
    await _renew_sent(bus, sender, inbox, task_id, opened)
    return _Begun(before, written.revision, was_seen) if written else None


async def _put_back(bus: Bus, begun: _Begun) -> None:
    """Have a task be set aside as it was, of which its sender is not told once more.

    Raises: as `write_record`.
    """
    record = begun.record
    revision = await write_record(bus, record, begun.revision)
    if begun.was_seen:
        seen = partial(_renewed, closed=True, seen_revision=revision)
        await _renew_sent(bus, record.owner, record.inbox, record.task_id, seen)


async def _renew_sent(
    bus: Bus,
    sender: str,
    inbox: str,
    task_id: str,
    renewed: Callable[[Sent | None], Write[Sent] | None],
) -> None:
    with suppress(NotAllowed):  # its sender's account alone may write that
        await records.update(bus, sent_key(sender, inbox, task_id), renewed)


def _renewed(sent: Sent | None, **changes: Any) -> Write[Sent] | None:
    after = sent.model_copy(update=changes) if sent and not sent.unasked else sent
    return Write(after) if after and after != sent else None
