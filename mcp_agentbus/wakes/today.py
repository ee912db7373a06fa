# SPDX-License-Identifier: Apache-2.0
"""What wakes have cost since midnight, by this machine's clock.

>>> wakes_today(settings)
WakesToday(count=5, read=3, usd=0.42)
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import text
from mcp_agentbus.core.ids import PROBE
from mcp_agentbus.wakes.ledger import Ledger


@dataclass(frozen=True)
class WakesToday:
    """How many there were, and what became of them."""

    count: int = 0
    read: int = 0  #: Those after which something was read.
    usd: float = 0.0  #: As `usd_per_day` counts it.


def wakes_today(settings: Settings) -> WakesToday | None:
    """Return what they cost, as this machine has it; None if nobody was ever woken.

    What doctor has tried a bus by is no agent of anybody's, and its wakes cost nothing.

    Raises:
        LedgerBroken: their record cannot be read.
    """
    if not settings.ledger_file.exists():
        return None
    with closing(Ledger(settings.ledger_file)) as ledger:
        rows = ledger.since(text.midnight(text.now()))
    tried = {row.agent for row in rows if row.agent.startswith(PROBE)} - settings.agents.keys()
    rows = [row for row in rows if not row.live_only and row.agent not in tried]
    read = sum(bool(row.led_to_read) for row in rows)
    return WakesToday(len(rows), read, sum(row.usd_counted for row in rows))
