# SPDX-License-Identifier: Apache-2.0
"""The message that a stream has stored under a number, if it is still there.

>>> await numbered(bus, TASKS, 7, "agentbus.coder.tasks.high.planner")
Found(subject='agentbus.coder.tasks.high.planner', seq=7, ...)
"""

from __future__ import annotations

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import Found


async def numbered(bus: Bus, stream: str, seq: int, subject: str = "") -> Found | None:
    """Return a stream's message of this number, and of this subject if one is given.

    In a stream made anew it is another: whoever asks looks whether it is what was meant.

    Raises:
        ApiError, BusUnreachable, NotAllowed: as `Bus.many`.
    """
    request: dict[str, str | int] = {"seq": seq, "batch": 1}
    if subject:
        request["next_by_subj"] = subject
    for message in await bus.many(stream, request):
        if message.seq == seq:  # where it is gone the next one comes
            return message
    return None
