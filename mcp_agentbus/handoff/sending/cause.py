# SPDX-License-Identifier: Apache-2.0
"""What a task that is sent now goes on from: how the task had come that its sender ended last.

>>> finished = at_end(task)
>>> finished.goes_on
True
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from mcp_agentbus.core import ids, text
from mcp_agentbus.store.task import HOPS_MAX, Task, utc

# A task sent this soon after the end of another still counts as caused by it, in seconds.
CAUSE_LINGERS_S: Final = 600


@dataclass(frozen=True)
class Finished:
    """How the task had come that a session ended last: what it sends next may go on from there."""

    chain: tuple[str, ...]
    hops: int
    #: For another process, and for this one: the clock may be set, the monotonic one may not.
    at: datetime
    at_monotonic: float

    @property
    def goes_on(self) -> bool:
        """Whether what is sent now still counts as caused by it."""
        return time.monotonic() - self.at_monotonic < CAUSE_LINGERS_S


def at_end(task: Task) -> Finished:
    """Return how a task had come that ends at this moment."""
    return Finished(task.chain, task.hops, text.now(), time.monotonic())


def earlier(chain: Iterable[str], hops: int, at: datetime) -> Finished:
    """Return how a task had come that an earlier process ended, at that time by its clock."""
    ago_s = max(0.0, (text.now() - at).total_seconds())  # the clock may have been set back
    return Finished(tuple(chain), hops, at, time.monotonic() - ago_s)


def said_of(finished: Finished) -> dict[str, Any]:
    """Return how a task had come that a session ended, as that session says it; for JSON."""
    return {"chain": finished.chain, "hops": finished.hops, "at": finished.at.isoformat()}


def way_in(ended: Mapping[str, Any]) -> tuple[list[str], int, datetime]:
    """Return what was said so, as it was written: for what this user's own process has said.

    Raises:
        ValueError, LookupError, TypeError: it says something else.
    """
    at = utc(datetime.fromisoformat(ended["at"]))
    return [*map(str, ended["chain"])], int(ended["hops"]), at


def way_of(ended: Mapping[str, Any]) -> tuple[list[str], int, datetime]:
    """Return the same of what came over the bus, where anybody may have said it.

    Raises:
        ValueError, LookupError, TypeError: it says something else.
    """
    chain, hops, at = way_in(ended)
    if not 0 <= hops <= HOPS_MAX:
        raise ValueError("no task comes so far")
    return [*filter(ids.is_agent, chain)], hops, at
