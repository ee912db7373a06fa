# SPDX-License-Identifier: Apache-2.0
"""How the server stands: where it is, what it holds, how much room is left.

>>> print((await standing(bus)).text)
running at nats://127.0.0.1:39327 (pid 4711, nats-server 2.15.1)
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from typing import Any

from mcp_agentbus import embedded
from mcp_agentbus.bus import Bus
from mcp_agentbus.embedded import Files
from mcp_agentbus.together import together
from mcp_agentbus.topology import STREAMS


@dataclass(frozen=True)
class Standing:
    """The embedded server's state."""

    text: str
    data: dict[str, Any]


async def standing(bus: Bus) -> Standing:
    """Ask the running embedded server how it stands.

    Raises:
        BusUnreachable, Unconfirmed: it does not answer.
    """
    settings = bus.settings
    server = await asyncio.to_thread(embedded.find, settings)
    infos = await together(*(bus.admin.api(f"STREAM.INFO.{name}") for name in STREAMS))
    free = shutil.disk_usage(settings.data_dir).free
    streams = {
        name: {
            "messages": info["state"]["messages"],
            "bytes": info["state"]["bytes"],
            "max_bytes": info["config"]["max_bytes"],
        }
        for name, info in zip(STREAMS, infos, strict=True)
    }
    data = {
        "running": True,
        "url": server.url if server else None,
        "pid": server.pid if server else None,
        "folder": str(settings.data_dir),
        "log": str(Files(settings.data_dir).log),
        "free_disk_bytes": free,
        "acknowledged_is_on_disk": True,
        "streams": streams,
    }
    lines = [
        f"running at {data['url']} (pid {data['pid']}), on this machine only",
        f"folder   {data['folder']} ({_size(free)} free on its disk)",
        "storing  every acknowledged message is on the disk first (sync_interval: always)",
        *(
            f"{name:<18} {one['messages']:>9,} messages  {_size(one['bytes']):>9}"
            f" of {_size(one['max_bytes'])}"
            for name, one in streams.items()
        ),
    ]
    return Standing("\n".join(lines), data)


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
