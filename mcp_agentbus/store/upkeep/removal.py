# SPDX-License-Identifier: Apache-2.0
"""Tasks that have ended are taken off the bus, where they would count among those that wait.

>>> await remove(bus, sent)
"""

from __future__ import annotations

from contextlib import suppress

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Delivery
from mcp_agentbus.core import text
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.store import subjects
from mcp_agentbus.store.queries.clock import has_come
from mcp_agentbus.store.queries.numbered import numbered
from mcp_agentbus.store.queries.read_back import find, find_at
from mcp_agentbus.store.records import Written, record_key, update
from mcp_agentbus.store.steps import Lost, Step, first_record, next_record
from mcp_agentbus.store.task import Sent


async def remove(bus: Bus, sent: Sent, *, everywhere: bool = True) -> None:
    """Take a task that has ended out of its inbox, where it would count until somebody reads it.

    Where it is not at its number, as one that was offered again, it is looked for `everywhere`.

    Raises:
        ApiError, BusUnreachable, NotAllowed: as `Bus.api`; then a reader removes it.
    """
    if sent.deliver_at and not await has_come(bus, sent.deliver_at):
        scheduled = subjects.scheduled_subject(sent.inbox, sent.priority, sent.owner, sent.task_id)
        await bus.api(f"STREAM.PURGE.{subjects.SCHEDULE}", {"filter": scheduled})
    look = find if everywhere else find_at
    if sent.seq and (there := await look(bus, first_record(sent), sent.seq)):
        await bus.api(f"STREAM.MSG.DELETE.{subjects.TASKS}", {"seq": there[1].seq})


async def expire(bus: Bus, sent: Sent, agent: str) -> bool:
    """End a task whose deadline passed, unless it has an end; tell whether it was done here.

    Raises: as `Bus.publish`.
    """
    reason = "its deadline passed without a result"
    expired = Step("expired", agent, first=first_record(sent), changes={"reason": reason})
    key = record_key(sent.owner, sent.inbox, sent.task_id)
    outcome = await update(bus, key, lambda standing: next_record(standing, expired, text.now()))
    with suppress(AgentbusError):  # whoever reads the inbox removes it
        await remove(bus, sent, everywhere=not isinstance(outcome, Lost))
    return isinstance(outcome, Written)


async def finish(bus: Bus, taken: Delivery) -> None:
    """Have a task never offered again that has ended; its schedule, if it had one, goes with it.

    Raises: as `Bus.finish`.
    """
    await bus.finish(taken)
    if not taken.token:  # nobody has taken it from the inbox
        task_id = taken.headers.get(subjects.H_TASK, "")
        await _delete(bus, taken.stream, taken.subject, taken.seq, task_id)
    with suppress(AgentbusError):  # then it goes after 30 days
        await _forget_schedule(bus, taken)


async def _forget_schedule(bus: Bus, taken: Delivery) -> None:
    """Remove what fell due: it would count among those that wait for their time."""
    stream, _, rest = taken.headers.get(subjects.H_SOURCE, "").partition(" ")
    number = rest.partition(" ")[0]
    if stream != subjects.SCHEDULE or not number.isdecimal():
        return
    inbox, _, (lane, sender) = subjects.parts(taken.subject)
    due = subjects.due_subject(inbox, lane, sender)
    # A header is what its sender says: only this task's own is deleted.
    await _delete(bus, stream, due, int(number), taken.headers.get(subjects.H_TASK, ""))


async def _delete(bus: Bus, stream: str, subject: str, seq: int, task_id: str) -> None:
    """Delete a stored task, if that is what has the number: in a stream made anew it is another."""
    message = await numbered(bus, stream, seq, subject)
    if message and message.headers.get(subjects.H_TASK) == task_id:
        await bus.api(f"STREAM.MSG.DELETE.{stream}", {"seq": seq})
