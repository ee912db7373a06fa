# SPDX-License-Identifier: Apache-2.0
"""Follow the tasks of all this user's agents, step by step, as they become known.

>>> async for step in follow(bus):
...     print(step.task.task_id, step.state, step.by)

Nothing is claimed or marked as seen. What was written while the bus was away is told afterwards,
each step once.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import AsyncExitStack, suppress
from datetime import datetime

from mcp_agentbus.archive import audit
from mcp_agentbus.archive.audit import Span, TaskStep
from mcp_agentbus.archive.catch_up import catch_up
from mcp_agentbus.archive.ear import Ear, next_of
from mcp_agentbus.archive.file import Archive
from mcp_agentbus.archive.history import up_to_date
from mcp_agentbus.archive.kept.sides import Sides, users
from mcp_agentbus.bus.address import starting_no_server
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.text import check_time
from mcp_agentbus.errors import BusUnreachable, Unconfirmed
from mcp_agentbus.handoff.intake.watches import reached, unsaid
from mcp_agentbus.store import streams


async def follow(
    bus: Bus, *, since: datetime | None = None, say: Callable[[str], None] = unsaid
) -> AsyncGenerator[TaskStep]:
    """Yield each step of a task of this user's agents: those since a time, then each new one.

    Args:
        bus: where they are; on a shared server only what this user's agents sent and received.
        since: a time with its zone; None: only what comes from now on.
        say: gets a sentence when the bus is away, and when it is back.

    Raises:
        BadInput: the time has no zone.
        ArchiveBroken, BadSetup: the archive, or the book of names, cannot be read.
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`, at the beginning; later only if
            the bus was closed, or takes this login no more.
    """
    if since is not None:
        check_time(since, "since")
    await streams.ensure_streams(bus)
    agents = users(bus.settings)
    async with up_to_date(bus, agents) as current:
        after = audit.last(current.archive)
        if since:
            async for step in _steps(current.archive, Span(until=after, since=since)):
                yield step
        async for span in news(bus, current.archive, agents, after, say):
            async for step in _steps(current.archive, span):
                yield step


async def _steps(archive: Archive, span: Span) -> AsyncGenerator[TaskStep]:
    async for page in audit.pages(archive, Sides(), span):
        for step in page:
            yield step


async def news(
    bus: Bus, archive: Archive, agents: Collection[str], after: int, say: Callable[[str], None]
) -> AsyncGenerator[Span]:
    """Yield which steps have become known since those that were yielded before.

    Args:
        bus: where the records are.
        archive: what reads them.
        agents: as `catch_up`.
        after: steps up to this number are not told.
        say: as `follow`.

    Raises:
        BusUnreachable: the bus was closed.
        NotAllowed: it takes this login no more.
        ArchiveBroken: the archive cannot be written.
    """
    while True:
        # Waiting for a server does not start one: `agentbus server stop` stands.
        await reached(bus, say)
        with suppress(BusUnreachable, Unconfirmed):
            async with AsyncExitStack() as stack:
                with starting_no_server():
                    written = await stack.enter_async_context(Ear(bus).heard(agents))
                while True:
                    written.clear()
                    with starting_no_server():
                        await catch_up(bus, archive, agents)
                    before, after = after, audit.last(archive)
                    yield Span(before, after)
                    await next_of(written)
