# SPDX-License-Identifier: Apache-2.0
"""A process that says the same on a connection of its own, as fast as it can, until it is killed.

>>> subprocess.Popen([sys.executable, flooder.__file__, str(key_file), url, subject, "answered"], ...)

What it says it reads from its standard input; it prints a line once it has begun.
"""

import asyncio
import contextlib
import sys
from pathlib import Path

from nats.aio.client import Client

from mcp_agentbus.bus.login.nkey import Nkey

_AT_ONCE = 1 << 20


async def flood(seed: str, url: str, subject: str, data: bytes, *, answered: bool) -> None:
    """Say it until the server ends the connection, and then on another."""
    key = Nkey(seed)
    while True:
        client = Client()
        client._public_nkey, client._auth_configured = key.public, True
        await client.connect(url, signature_cb=key.signed, allow_reconnect=False)
        reply = client.new_inbox() if answered else ""
        if answered:
            await client.subscribe(reply, cb=_nothing)
        with contextlib.suppress(Exception):
            while client.is_connected:
                for _ in range(max(1, min(200, _AT_ONCE // (len(data) + 100)))):
                    await client.publish(subject, data, reply=reply)
                await client.flush()
                print(flush=True)
        await client.close()


async def _nothing(_: object) -> None:
    """Leave what is answered."""


if __name__ == "__main__":
    key_file, *place, answered = sys.argv[1:]
    body = sys.stdin.buffer.read()
    asyncio.run(flood(Path(key_file).read_text(), *place, body, answered=answered == "answered"))
