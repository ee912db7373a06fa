# SPDX-License-Identifier: Apache-2.0
"""What wakes do about a task, in its life: their steps written, and its own read for them.

    >>> await write(bus, "coder", things, "wake-held", Reason.QUIET_HOURS.why)
    frozenset({'task coder 7f3a9c21'})

Of hundreds of tasks the bus is asked some at once: one by one a look would take a minute.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.aio import by_portions
from mcp_agentbus.errors import AgentbusError, Refused, TooLarge
from mcp_agentbus.store.queries import senders
from mcp_agentbus.store.records import add_wake, read_record, read_sent
from mcp_agentbus.store.task import Moment
from mcp_agentbus.wakes.facts import Waiting
from mcp_agentbus.wakes.ledger import Row

# Outcomes of a wake that came about; the others are failures in the life of a task.
_WOKEN: Final = frozenset({"exited", "asked"})


async def write(
    bus: Bus, agent: str, things: Iterable[Waiting], state: str, why: str
) -> frozenset[str]:
    """Write a step of an agent's wake into the life of each task; return the keys of those done.

    What could not be written stays out: the ledger has it.
    """
    moment = Moment(state=state, at=datetime.now(UTC), by=agent, reason=why)

    async def written(thing: Waiting) -> str:
        with suppress(AgentbusError):
            await add_wake(bus, thing.owner, thing.inbox, thing.task_id, moment)
            return thing.key
        return ""

    tasks = [thing for thing in things if thing.kind == "task"]
    return frozenset(await by_portions(written, tasks)) - {""}


async def write_end(bus: Bus, row: Row) -> None:
    """Write how a wake has ended into the lives of its tasks: of each, whatever another is refused.

    Raises: as `records.add_wake`; of what is refused, what may be taken later before what never is.
    """
    state = "woken" if row.outcome in _WOKEN else "wake-failed"
    moment = Moment(state=state, at=row.ended_at or row.at, by=row.agent, reason=row.said)

    async def written(key: str) -> None:
        kind, inbox, task_id = key.split(" ")
        if kind == "task" and (sent := await senders.sent_to(bus, inbox, task_id)):
            await add_wake(bus, sent.owner, inbox, task_id, moment)

    async def tried(key: str) -> None:
        try:
            await written(key)
        except Refused as error:
            refused.append(error)

    refused: list[Refused] = []
    await by_portions(tried, sorted(row.keys))
    if refused:
        raise min(refused, key=lambda error: isinstance(error, TooLarge))


async def was_read_since(bus: Bus, row: Row) -> bool:
    """Tell whether something was claimed or seen, after a wake had ended that told of it.

    What a process of its own has read and given back counts as not read.

    Raises: as `records.read_record`.
    """
    since = row.ended_at or datetime.now(UTC)

    async def was_taken(key: str) -> bool:
        kind, *rest = key.split(" ")
        if kind == "task":
            record, _ = await read_record(bus, "*", *rest)
            steps = record.history if record else ()
            return any(step.state == "claimed" and step.at >= since for step in steps)
        if kind == "result":
            sent, _ = await read_sent(bus, row.agent, "*", rest[0])
            return bool(sent and sent.seen_at and sent.seen_at >= since)
        return False

    return any(await by_portions(was_taken, sorted(row.keys)))
