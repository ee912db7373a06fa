# SPDX-License-Identifier: Apache-2.0
"""What a reading of a session's inboxes has brought, before any answer gives it.

>>> Brought([claim], {"low": 3})
Brought(claims=[Claim(task=Task(subject='Count the tests', ...), ...)], waiting={'low': 3}, ...)
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mcp_agentbus.core.ids import Priority
from mcp_agentbus.handoff.claim import Claim


@dataclass
class Brought:
    """What one reading of the lanes brought."""

    claims: list[Claim] = field(default_factory=list)
    #: How many more wait, by priority, as far as the pulls told; a lane not asked is missing.
    waiting: dict[Priority, int] = field(default_factory=dict)
    #: What a reader should know besides, in this program's words.
    notes: list[str] = field(default_factory=list)
    #: Why the lanes could not be read as a whole; empty if they could.
    degraded: str = ""
    #: The inboxes are known to hold no task, neither one that waits nor one that a session has.
    nothing_stored: bool = False
