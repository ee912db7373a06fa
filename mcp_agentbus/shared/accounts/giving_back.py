# SPDX-License-Identifier: Apache-2.0
"""What waits for the agents of an account that has gone: it ends, and its senders are told.

>>> await give_back_all(bus, "coder", "laptop")
2
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing, suppress
from dataclasses import replace

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core import text
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.store import subjects, tasks
from mcp_agentbus.store.records import Written, record_key, sent_in, update
from mcp_agentbus.store.registered.profile import decode_profile
from mcp_agentbus.store.steps import Lost, Same, Step, Write, first_record, next_record
from mcp_agentbus.store.task import Record, Sent, Undecodable


async def agents_of(bus: Bus) -> Mapping[str, set[str]]:
    """Return the ids of the agents of each account, by its name.

    Raises:
        ApiError, BusUnreachable, NotAllowed: as `Bus.many`.
    """
    agents: dict[str, set[str]] = {}
    async with aclosing(bus.stored(subjects.AGENTS, subjects.profile_subject("*"))) as pages:
        async for page in pages:
            for message in page:
                with suppress(Undecodable):
                    profile = decode_profile(message)
                    if profile.account and not profile.forgotten:
                        agents.setdefault(profile.account, set()).add(profile.id)
    return agents


async def give_back_all(bus: Bus, agent: str, account: str) -> int:
    """End what others have sent to an agent and is not over, as rejected; return how many.

    Raises:
        BusUnreachable, Unconfirmed, NotAllowed: as `Bus.publish`.
    """
    count = 0
    sent_to = subjects.sent_subject("*", agent, "*")
    async with aclosing(bus.stored(subjects.RESULTS, sent_to)) as pages:
        async for page in pages:
            for sent in filter(None, map(sent_in, page)):
                if not (sent.closed or sent.unasked):
                    count += await _rejected(bus, sent, account)
    return count


async def _rejected(bus: Bus, sent: Sent, account: str) -> bool:
    reason = f"the account {account}, whose agent it was for, was removed from the bus"
    rejected = Step(
        "rejected", sent.inbox, first=first_record(sent), changes={"reason": reason}
    )  # fmt: skip

    def ended(standing: Record | None) -> Write[Record] | Same | Lost:
        # Whoever holds it, it holds no more.
        holder = standing.session if standing else ""
        return next_record(standing, replace(rejected, session=holder), text.now())

    outcome = await update(bus, record_key(sent.owner, sent.inbox, sent.task_id), ended)
    with suppress(AgentbusError):  # whoever reads the inbox removes it
        await tasks.remove(bus, sent, everywhere=not isinstance(outcome, Lost))
    return isinstance(outcome, Written)
