# SPDX-License-Identifier: Apache-2.0
"""How this user's own server stands: where it is, what it holds, how much room is left.

>>> (await start(settings)).how
'started'
>>> print((await standing(bus)).text)
running at nats://127.0.0.1:39327 (pid 4711), on this machine only
folder   /home/me/.local/share/agentbus (212.4 GiB free on its disk)

Of a server that several machines share it says nothing: that one is its owner's to look at.
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from typing import Any, Final

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.embedded import Server
from mcp_agentbus.bus.own import disk
from mcp_agentbus.bus.own.files import Files
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core.aio import together
from mcp_agentbus.core.text import size
from mcp_agentbus.store import streams
from mcp_agentbus.store.streams import STREAMS

#: What `disk.is_durable` means.
DURABLE: Final = {
    True: "what is acknowledged is on the disk before (sync_interval: always)",
    False: "what is acknowledged may be lost in a power cut: sync_interval is not always",
    None: "whether what is acknowledged is on the disk is not known: nats.conf cannot be read",
}


@dataclass(frozen=True)
class ServerState:
    """The embedded server's state, for a person and for a program."""

    text: str
    data: dict[str, Any]


async def start(settings: Settings) -> Server:
    """Have the server run, and its streams be there.

    Raises: as `embedded.ensure` and `streams.ensure_streams`.
    """
    server = await asyncio.to_thread(embedded.ensure, settings)
    async with Bus(settings) as bus:
        await streams.ensure_streams(bus)
    return server


async def standing(bus: Bus) -> ServerState:
    """Ask the running embedded server how it stands.

    Raises:
        BusUnreachable, Unconfirmed: it does not answer.
    """
    settings = bus.settings
    server = await asyncio.to_thread(embedded.find, settings)
    infos = await together(*(bus.api(f"STREAM.INFO.{name}") for name in STREAMS))
    free = shutil.disk_usage(settings.data_dir).free
    durable = await asyncio.to_thread(disk.is_durable, settings)
    data = {
        "running": True,
        "url": server.url if server else None,
        "pid": server.pid if server else None,
        "folder": str(settings.data_dir),
        "log": str(Files(settings.data_dir).log),
        "free_disk_bytes": free,
        "acknowledged_is_on_disk": durable,
        "streams": {
            name: {
                "messages": info["state"]["messages"],
                "bytes": info["state"]["bytes"],
                "max_bytes": info["config"]["max_bytes"],
            }
            for name, info in zip(STREAMS, infos, strict=True)
        },
    }
    return ServerState(_text(data), data)


def _text(data: dict[str, Any]) -> str:
    lines = [
        f"running at {data['url']} (pid {data['pid']}), on this machine only",
        f"folder   {data['folder']} ({size(data['free_disk_bytes'])} free on its disk)",
        f"storing  {DURABLE[data['acknowledged_is_on_disk']]}",
        *(
            f"{name:<18} {stream['messages']:>9,} messages  {size(stream['bytes']):>9}"
            f" of {size(stream['max_bytes'])}"
            for name, stream in data["streams"].items()
        ),
    ]
    return "\n".join(lines)
