# SPDX-License-Identifier: Apache-2.0
"""How much a stream has under each of its subjects, as the server counts it: nothing is read.

>>> await stored_subjects(bus, TASKS, "agentbus.coder.tasks.*.*")
{'agentbus.coder.tasks.high.planner': 3}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.store.queries import clock


async def stored_subjects(bus: Bus, stream: str, subject: str) -> dict[str, int]:
    """Return how many messages a stream has under each subject that fits, which has wildcards.

    Raises:
        ApiError, BusUnreachable, Unconfirmed, NotAllowed: as `Bus.api`.
    """
    counts: dict[str, int] = {}
    offset: int | None = 0
    while offset is not None:
        wanted = {"subjects_filter": subject, "offset": offset}
        info = await bus.api(f"STREAM.INFO.{stream}", wanted)
        clock.note(bus, info)
        offset = counted(info, counts, offset)
    return counts


def counted(info: Mapping[str, Any], counts: dict[str, int], offset: int) -> int | None:
    """Note how many messages a stream has under each subject, of which 100,000 are told at a time.

    What is stored meanwhile moves the others on: one is told twice, and none is waited for.

    Args:
        info: the answer to `STREAM.INFO` with that `offset`.
        counts: by subject.
        offset: how many subjects were told before; 0 at first.

    Returns:
        the next offset; None: that were all.
    """
    page = info["state"].get("subjects") or {}
    counts.update(page)
    offset += len(page)
    return offset if page and offset < int(info.get("total", 0)) else None
