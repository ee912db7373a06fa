# SPDX-License-Identifier: Apache-2.0
"""How times, counts and facts are spelled in answers.

>>> many(2, "task")
'2 tasks'
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from mcp_agentbus.core.ids import LANES, Priority
from mcp_agentbus.core.text import now


def about(facts: Mapping[str, str | None]) -> str:
    """Return a line for each name that has a value."""
    return "\n".join(f"{name}: {value}" for name, value in facts.items() if value)


def line(facts: Iterable[str]) -> str:
    """Return facts on one line."""
    return " \u00b7 ".join(facts)


def ago(at: datetime) -> str:
    """Return how long ago something was, in minutes, or in hours from two on."""
    minutes = int((now() - at).total_seconds()) // 60
    if minutes < 1:
        return "just now"
    return f"{minutes} min ago" if minutes < 120 else f"{minutes // 60} h ago"


def when(at: datetime) -> str:
    """Return a time, to the second."""
    return at.strftime("%Y-%m-%d %H:%M:%SZ")


def many(count: int, what: str) -> str:
    """Return a number of things."""
    return f"{count} {what}{'s' * (count != 1)}"


def counts(waiting: Mapping[Priority, int]) -> str:
    """Return how many wait in each lane that has any."""
    return ", ".join(f"{waiting[lane]} {lane}" for lane in LANES if waiting.get(lane)) or "none"
