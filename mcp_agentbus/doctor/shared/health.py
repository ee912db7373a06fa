# SPDX-License-Identifier: Apache-2.0
"""Whether a shared server on this machine still stores what it takes, as its monitoring tells.

A server whose disk was full answers, and stores nothing more until it is started anew. Its users
only hear that nothing is confirmed: who runs it has to see why.
"""

from __future__ import annotations

import http.client
import socket
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

from mcp_agentbus.bus import said
from mcp_agentbus.bus.server_conf import monitoring_port
from mcp_agentbus.config.values import LOOPBACK
from mcp_agentbus.core.aio import in_thread
from mcp_agentbus.core.text import from_json
from mcp_agentbus.doctor.check import Check

_ANSWER_S: Final = 3.0
_READ_MAX_BYTES: Final = 64 << 10
# In what it says of a stream, before the system's words, which stand behind the file's path.
_WRITE_ERROR: Final = " write error: "
_ANEW: Final = (
    "Then start it anew: systemctl --user restart agentbus-server.service, or as you run it."
)


async def checks(url: str) -> list[Check]:
    """Return what is wrong with a server's writing; nothing where it is elsewhere or tells none."""
    where = urlsplit(url)
    host, port = where.hostname or "", where.port or 4222
    if host not in LOOPBACK and not await in_thread(_is_here, host, port):
        return []
    why = await in_thread(_write_error, monitoring_port(port))
    if not why:
        return []
    full = said.is_full(why)
    wrong = f"{'its disk was full' if full else f'a write has failed ({why})'}, and it stores "
    fix = "Free some disk space: df -h." if full else "See its log, and dmesg."
    return [Check("server", "wrong", f"{wrong}nothing until it is started anew", f"{fix} {_ANEW}")]


def _is_here(host: str, port: int) -> bool:
    """Tell whether a server is on this machine: what goes to it has its own address as sender.

    Its owner reaches it by its name or address, too, where its certificate is for no other. Nothing
    is sent.
    """
    with suppress(OSError, ValueError):
        for family, kind, _, _, there in socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM):
            with socket.socket(family, kind) as way, suppress(OSError):
                way.connect(there)
                if way.getsockname()[0] == there[0]:
                    return True
    return False


def _write_error(port: int) -> str:
    """Return the system's words for why it stores nothing; empty if it does, or does not answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_S)
    try:
        connection.request("GET", "/healthz")
        told: Any = from_json(connection.getresponse().read(_READ_MAX_BYTES))
        _, is_told, what = str(told.get("error", "")).partition(_WRITE_ERROR)
    except (OSError, http.client.HTTPException, ValueError, AttributeError):
        return ""
    finally:
        connection.close()
    return what.rpartition(": ")[2] if is_told else ""
