# SPDX-License-Identifier: Apache-2.0
"""Room among the parked tasks, so that a flood of one sender's costs none of another's.

>>> await make_room(bus)
True
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.store import subjects
from mcp_agentbus.store.queries.counted import stored_subjects
from mcp_agentbus.store.subjects import DEAD

# Where no more can be parked, so many of who has the most parked stay.
_FLOOD: Final = 100
# More than that of its size, and the stream may take no more.
_FULL_AT: Final = 0.9


async def is_short(bus: Bus) -> bool:
    """Tell whether little room is left; raises as `Bus.api`."""
    info = await bus.api(f"STREAM.INFO.{DEAD}")
    return bool(info["state"]["bytes"] > _FULL_AT * info["config"]["max_bytes"] > 0)


async def make_room(bus: Bus) -> bool:
    """Remove the oldest parked tasks of who has by far the most; tell whether there was one.

    Raises: as `Bus.api`.
    """
    counts: Counter[str] = Counter()
    everything = subjects.dead_subject("*", "*", "*")
    for subject, count in (await stored_subjects(bus, DEAD, everything)).items():
        counts[subject.rpartition(".")[2]] += count
    [(sender, count)] = counts.most_common(1) or [("", 0)]
    if count <= _FLOOD:
        return False
    # Whatever others call themselves: the server takes no message under a wildcard.
    flood = {"filter": subjects.dead_subject("*", "*", sender), "keep": _FLOOD}
    await bus.api(f"STREAM.PURGE.{DEAD}", flood)
    return True
