# SPDX-License-Identifier: Apache-2.0
"""What time it is by the server's clock: a machine's own may be minutes off.

>>> await server_now(bus, TASKS)
datetime.datetime(2026, 7, 28, 12, 0, tzinfo=datetime.timezone.utc)
"""

from __future__ import annotations

from datetime import datetime

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.replies import server_time


async def server_now(bus: Bus, stream: str) -> datetime:
    """Return the time by the clock of the server that keeps a stream.

    Raises: as `Bus.api`.
    """
    info = await bus.admin.api(f"STREAM.INFO.{stream}")
    return server_time(str(info["ts"]))
