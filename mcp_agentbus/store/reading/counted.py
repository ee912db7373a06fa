# SPDX-License-Identifier: Apache-2.0
"""How much a stream has under each of its subjects, as the server counts it: nothing is read.

>>> await stored_subjects(bus, TASKS, "agentbus.coder.tasks.*.*")
{'agentbus.coder.tasks.high.planner': 3}
"""

from __future__ import annotations

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.store.reading import clock


async def stored_subjects(bus: Bus, stream: str, subject: str) -> dict[str, int]:
    """Return how many messages a stream has under each subject that fits, which has wildcards.

    Raises:
        ApiError, BusUnreachable, Unconfirmed, NotAllowed: as `Bus.api`.
    """
    counts: dict[str, int] = {}
    while True:  # the server tells 100,000 at a time
        wanted = {"subjects_filter": subject, "offset": len(counts)}
        info = await bus.admin.api(f"STREAM.INFO.{stream}", wanted)
        clock.note(bus, info)
        page = info["state"].get("subjects") or {}
        counts.update(page)
        if not page or len(counts) >= int(info.get("total", 0)):
            return counts
