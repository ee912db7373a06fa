# SPDX-License-Identifier: Apache-2.0
"""Who is there, and what waits for an agent, without claiming anything of it.

>>> await count(session)
{'high': 0, 'normal': 3, 'low': 0}
"""

from __future__ import annotations

from mcp_agentbus.bus.budget import one_call
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent, Priority
from mcp_agentbus.handoff import agents
from mcp_agentbus.handoff.agents import Page
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.intake.answer import Inbox
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import queues, roster, streams

#: What is known of one agent, as `Listed.entry` has it, with the list that has it in its name.
RosterEntry = roster.Entry


@one_call
async def register(bus: Bus, agent: Agent) -> None:
    """Have an agent known before its first session is there, so that it can be sent tasks.

    Raises:
        BadInput: its id, a role or its description breaks its rule.
        BusUnreachable, Unconfirmed, StoreFull, NotAllowed: as `Bus.publish`.
    """
    agent.check()
    await streams.ensure_streams(bus)
    await roster.register(bus, agent, None)


async def list_agents(
    session: Session,
    *,
    query: str = "",
    include_offline: bool = True,
    limit: int = 20,
    cursor: str | None = None,
) -> Page:
    """Return the agents on the bus, by id; the arguments after the session are those of `page`.

    Raises: as `agents.page`.
    """
    await session.called()
    return await agents.page(
        session.bus, query=query, include_offline=include_offline, limit=limit, cursor=cursor
    )


async def peek(
    session: Session, *, limit: int = 5, thread_id: str | None = None, cursor: str | None = None
) -> Inbox:
    """Return what waits, and the results that nobody has seen; as `read_inbox(peek=True)`.

    Raises: as `read_inbox`.
    """
    return await read_inbox(session, limit=limit, peek=True, thread_id=thread_id, cursor=cursor)


@one_call
async def count(session: Session) -> dict[Priority, int]:
    """Return how many tasks wait in this agent's inboxes that no live session holds, by priority.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    await session.called()
    return await queues.counts(session.bus, session.inboxes)
