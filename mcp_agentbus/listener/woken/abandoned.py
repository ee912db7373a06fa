# SPDX-License-Identifier: Apache-2.0
"""What a woken program's commands have claimed, given back where it has come to no good end.

    ended = Ended("failed", "exit code 1")
    ended = await abandoned.give_back_soon(bus, folder, "coder", process, ended)

No process keeps such a claim, and it lasts two hours; an urgent task would wake nobody meanwhile.
Where a program has ended well, it may have handed on what it has claimed: that stays.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.processes import Process
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.handoff import shell_session, shells
from mcp_agentbus.wakes.hosts.protocol import Ended
from mcp_agentbus.wakes.ledger import Row

# How a program ended that goes on with nothing; of "stopped" nobody may have seen how.
_UNWELL: Final = frozenset({"failed", "timed_out", "stopped"})
# A bus that is there takes a part of that; the end of a wake waits for it.
_SOON_S: Final = 5.0


async def give_back_soon(
    bus: Bus, folder: Path, agent: str, process: Process, ended: Ended
) -> Ended:
    """Do it before the look that follows the end of a wake: what is claimed counts there as read.

    Where the bus is away, `give_back` does it later: of what was left at the same moment, with
    which the end is returned. What is claimed from then on is somebody else's.
    """
    until = datetime.now(UTC)
    if ended.outcome in _UNWELL:
        with suppress(AgentbusError, TimeoutError):
            async with asyncio.timeout(_SOON_S):
                await _give_back(bus, folder, agent, process, until)
    return replace(ended, at=until)


async def give_back(bus: Bus, folder: Path, row: Row) -> None:
    """Do it of a wake whose end the ledger knows.

    Raises: as `shell_session.give_back`.
    """
    if row.outcome in _UNWELL and row.pid and row.ended_at:
        await _give_back(bus, folder, row.agent, Process.marked(row.pid, row.born), row.ended_at)


async def _give_back(bus: Bus, folder: Path, agent: str, process: Process, until: datetime) -> None:
    claimed = shells.claimed_below(folder, shells.session_id(agent, folder), process)
    if claimed:
        await shell_session.give_back(bus, agent, claimed, until)
