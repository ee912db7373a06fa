# SPDX-License-Identifier: Apache-2.0
"""A task of the outbox comes to its bus, or the end that it has there.

    await hand_on(bus, letter, Addressees(bus, "planner"))

It is stored under the id that it has had from the start, so an earlier try of it is known. What its
bus refuses, what has expired and what was withdrawn becomes a record there, which its sender is
told of like any result, whatever was restarted meanwhile.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Conflict
from mcp_agentbus.config.machine_key import unforeseen
from mcp_agentbus.core import ids, text
from mcp_agentbus.errors import (
    AgentbusError,
    BadInput,
    BadSetup,
    NameTaken,
    Refused,
    SendLimit,
    StoreFull,
)
from mcp_agentbus.handoff.dispatch import sent_records
from mcp_agentbus.handoff.dispatch.addressees import Addressees
from mcp_agentbus.handoff.dispatch.threads import thread_of
from mcp_agentbus.store import roster, tasks
from mcp_agentbus.store.outbox.letter import Letter
from mcp_agentbus.store.queries import read_back
from mcp_agentbus.store.queries.clock import has_come
from mcp_agentbus.store.records import (
    Written,
    read_sent,
    record_key,
    sent_key,
    update,
    write_sent,
)
from mcp_agentbus.store.steps import Step, Write, first_record, next_record, sent_of
from mcp_agentbus.store.task import Sent, State, Task
from mcp_agentbus.store.upkeep import removal

#: Refusals of a moment, or of this machine: what is refused so is tried again.
FOR_NOW: Final = (SendLimit, StoreFull, BadSetup)


class Barred(Refused):
    """The bus takes nothing in this sender's name: not even that its task was refused."""


async def be_known(bus: Bus, letter: Letter) -> None:
    """Have the sender be registered, as its first call would do it: that may have been in vain.

    Raises: as `hand_on`.
    """
    me, mine = letter.sender, bus.settings.account
    try:
        there = await roster.registration(bus, me.id)
        if there is None:
            await roster.register_granted(bus, me, letter.task.created_at)
        elif mine and there.account not in {"", mine}:
            raise NameTaken
    except FOR_NOW:
        raise
    except Refused as error:
        raise Barred(error.message, hint=error.hint) from None


async def hand_on(bus: Bus, letter: Letter, known: Addressees) -> None:
    """Have a task be on its bus, or its end; once this returns the outbox may forget it.

    Args:
        bus: its bus.
        letter: the task of a sender who is known there.
        known: whom its sender has met.

    Raises:
        Barred: its sender may say nothing there.
        SendLimit, StoreFull, BadSetup: not now; see `FOR_NOW`.
        BusUnreachable, Unconfirmed: as `Bus.publish`; the same again is done once.
    """
    task = letter.task
    before, _ = await read_sent(bus, task.sender, task.to, task.id)
    is_anothers = before is not None and not tasks.is_same(before, task)
    if letter.is_over:
        if not is_anothers:
            await _end(bus, task, "cancelled", "its sender withdrew it", **letter.said)
        return
    if is_anothers:
        await _refuse_apart(bus, task)
        return
    if before:  # an earlier try came there
        return
    if await has_come(bus, task.expires_at):
        why = "its deadline passed while the bus was out of reach of its sender"
        await _end(bus, task, "expired", why)
        return
    try:
        stored = await _store(bus, letter, known)
    except FOR_NOW:
        raise
    except Refused as error:
        await _end(bus, task, "rejected", _reason(error))
        return
    if isinstance(stored, tasks.IdInUse):
        await _refuse_apart(bus, task)


async def _refuse_apart(bus: Bus, task: Task) -> None:
    """Reject a task whose id another one has there: under an id of its own, as that one may go on.

    Raises: as `_end`.
    """
    own = unforeseen(bus.settings.state_dir, task.id, task.request)
    thread = own if task.thread_id == task.id else task.thread_id
    apart = task.model_copy(update={"id": own, "thread_id": thread})
    why = BadInput(
        f"its request_id was used for another task, {task.id}, which is as it was. This one, "
        f"which was kept under that id, too, is {own}: send it again with another request_id."
    )
    await _end(bus, apart, "rejected", _reason(why))


async def _store(bus: Bus, letter: Letter, known: Addressees) -> tasks.Kept | tasks.IdInUse:
    """Store a task, as its sender's call would have done it.

    Raises:
        Refused: that call would have been refused.
        BusUnreachable, Unconfirmed: as `Bus.publish`.
    """
    task = await _in_thread(bus, letter)
    others = [task.reply_to] if task.reply_to else []
    addressee, *_ = await known.find([ids.address_of(task.to), *others])
    if refusal := addressee.refusal(letter.sender):
        raise refusal
    return await sent_records.put(bus, task)


async def _in_thread(bus: Bus, letter: Letter) -> Task:
    """Return a task in the conversation of the one that it answers, as far as that is known now."""
    task = letter.task
    if task.in_reply_to is None or task.thread_id != task.id:
        return task
    thread = await thread_of(bus, task.sender, letter.sender.inboxes, task.in_reply_to)
    return task.model_copy(update={"thread_id": thread or task.thread_id})


def _reason(error: Refused) -> str:
    """Return why its bus has refused a task, in a sentence."""
    return f"it was handed on once the bus was reached, which refused it: {error.cause}"


async def _end(bus: Bus, task: Task, state: State, reason: str, **said: Any) -> None:
    """Write the end of a task on its bus, unless it has another one there.

    With it what its sender `said`, by the fields of its record.

    Raises:
        Barred: its sender may not write that.
        StoreFull, BadSetup, BusUnreachable, Unconfirmed: as `Bus.publish`.
    """
    sent = sent_of(task)
    step = Step(state, task.sender, first_record(sent), changes={"reason": reason, **said})
    key = record_key(task.sender, task.to, task.id)
    try:
        with suppress(Conflict):  # an earlier try has written it
            await write_sent(bus, sent, 0)
        outcome = await update(bus, key, lambda standing: next_record(standing, step, text.now()))
        if state == "cancelled" and isinstance(outcome, Written):
            await _note_as_seen(bus, sent, outcome.revision)
    except FOR_NOW:
        raise
    except Refused as error:
        raise Barred(error.message, hint=error.hint) from None
    with suppress(AgentbusError):  # whoever reads the inbox removes what an earlier try has stored
        if there := await read_back.find(bus, first_record(sent)):
            await removal.remove(bus, sent.model_copy(update={"seq": there[1].seq}))


async def _note_as_seen(bus: Bus, sent: Sent, revision: int) -> None:
    """Who has withdrawn a task need not be told of its end."""
    seen = {"seen_revision": revision, "seen_at": text.now(), "closed": True}

    def noted(kept: Sent | None) -> Write[Sent]:
        return Write((kept or sent).model_copy(update=seen))

    await update(bus, sent_key(sent.owner, sent.inbox, sent.task_id), noted)
