# SPDX-License-Identifier: Apache-2.0
"""A woken process that has outlived the listener which started it.

>>> await end_of(row, settings.rules.get(row.agent))
Ended(outcome='stopped', said='it ended after the listener that had started it was killed', ...)

Which process that is stands in the ledger.
"""

from __future__ import annotations

from datetime import UTC, datetime

from mcp_agentbus.config.rules import Limits, Rules
from mcp_agentbus.core import processes
from mcp_agentbus.core.children.group import outlive
from mcp_agentbus.core.places import Where
from mcp_agentbus.core.processes import Process
from mcp_agentbus.relay import seat
from mcp_agentbus.wakes.hosts.protocol import Ended
from mcp_agentbus.wakes.ledger import Row


def process_of(row: Row) -> Process:
    """Return the process of a wake, as the ledger has it."""
    return Process.marked(row.pid or 0, row.born)


def runs(row: Row) -> bool:
    """Tell whether the process of a wake runs still."""
    process = process_of(row)
    return bool(process.born) and processes.is_still(process)


def is_anothers(row: Row, where: Where) -> bool:
    """Tell whether the listener of another container looks after it."""
    process = process_of(row)
    return not process.is_here and seat.is_taken_in(process.space, where)


def is_looked_after(row: Row, where: Where) -> bool:
    """Tell whether some listener looks after it, so that its files stay."""
    return runs(row) or is_anothers(row, where)


def is_left(rules: Rules | None) -> bool:
    """Tell whether it goes on where its listener ends."""
    return rules is not None and rules.on_stop == "leave"


async def end_of(row: Row, rules: Rules | None) -> Ended:
    """Wait for its end, which comes at its time limit at the latest; tell how it was.

    Its exit code was for a listener that was killed, maybe before it gave its notice.
    """
    process = process_of(row)
    try:
        by_itself = await outlive(process, _left_s(row, rules), leave=is_left(rules))
    except OSError as error:  # no descriptor is left: else its agent would never be woken again
        return Ended("stopped", f"its end cannot be waited for: {error.strerror}")
    if by_itself:
        return Ended("stopped", "it ended after the listener that had started it was killed")
    if by_itself is None:
        return Ended.lives_on(process.pid)
    return Ended("timed_out", "ended at its time limit, which its listener had left")


def _left_s(row: Row, rules: Rules | None) -> float:
    """Return how long it may still run, in seconds, by the rules as they are now.

    A wake of the future, noted before the clock was set back, has begun now.
    """
    limit_s = (rules.limits if rules else Limits()).time_limit_s
    return limit_s - max(0.0, (datetime.now(UTC) - row.at).total_seconds())
