# SPDX-License-Identifier: Apache-2.0
"""Whose a task is: by what its sender keeps of it, as all else anybody may have made up.

>>> await sender_of(bus, "9d0c2f61e8...")
'planner'
"""

from __future__ import annotations

from contextlib import suppress
from typing import Literal

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core import ids
from mcp_agentbus.errors import AgentbusError, UnknownTask
from mcp_agentbus.store.records import read_sent


async def unknown_task(
    bus: Bus, task_id: str, message: str, deed: str, *, by: Literal["sender", "addressee"]
) -> UnknownTask:
    """Return the error for a task that is not this agent's, with whose it is, if that is known.

    Args:
        bus: where it is looked for.
        task_id: its whole id, by which whoever has it has seen the task.
        message: a sentence that says what this agent has not, without its full stop.
        deed: what can be done by an agent whose it is, such as `read`.
        by: which of both can do that.
    """
    with suppress(AgentbusError):  # then nobody knows
        sent, _ = await read_sent(bus, "*", "*", task_id)
        if sent:  # what else is written of it, anybody may have made up
            to = ids.address_of(sent.inbox)
            if by == "sender":
                whose = f"A session of {sent.owner}"
            elif sent.inbox.startswith(ids.ROLE_PREFIX):
                whose = f"An agent that holds {to}"
            else:
                whose = f"A session of {to}"
            return UnknownTask(
                f"{message}; {sent.owner} sent it to {to}.", hint=f"{whose} can {deed} it."
            )
    return UnknownTask(f"{message}.", hint=ids.PARKED_NUMBER if ids.is_number(task_id) else "")


async def sender_of(bus: Bus, task_id: str) -> str | None:
    """Return the agent that has sent a task; None if that is not known, or not for us to know."""
    with suppress(AgentbusError):
        sent, _ = await read_sent(bus, "*", "*", task_id)
        return sent.owner if sent else None
    return None
