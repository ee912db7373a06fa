# SPDX-License-Identifier: Apache-2.0
"""The conversation of a task that is answered, also of one that is over.

>>> await thread_of(bus, "planner", ("planner",), "9d0c...")
'release-7'
"""

from __future__ import annotations

from collections.abc import Collection

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.aio import together
from mcp_agentbus.store.records import read_sent


async def thread_of(bus: Bus, me: str, inboxes: Collection[str], task_id: str) -> str:
    """Return the thread of a task that an agent sent, or that came to an inbox of its.

    Empty if nothing is kept of it.

    Raises: as `read_sent`.
    """
    sent, _ = await read_sent(bus, me, "*", task_id)
    if sent:
        return sent.thread_id
    came = await together(*(read_sent(bus, "*", inbox, task_id) for inbox in inboxes))
    return next((received.thread_id for received, _ in came if received), "")
