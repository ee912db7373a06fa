# SPDX-License-Identifier: Apache-2.0
"""Stores any bytes at all, as a client in another language or a hostile one may.

    >>> await store(settings, b"agentbus.coder.tasks.normal.planner", b"not JSON")
    17

nats-py refuses much of what nats-server takes, so this one speaks the protocol itself.
"""

import asyncio
import json
from urllib.parse import urlsplit

from mcp_agentbus.bus import embedded


async def store(settings, subject, data, header_block=b""):
    """Publish the bytes, with this block of headers as it is; return the sequence they got."""
    server, token = embedded.find(settings), embedded.read_token(settings)
    where = urlsplit(server.url)
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        options = {"auth_token": token, "headers": True, "no_responders": True, "verbose": False}
        writer.write(b"CONNECT " + json.dumps(options).encode() + b"\r\nSUB _INBOX.raw 1\r\n")
        sizes = f"{len(header_block)} {len(header_block) + len(data)}".encode()
        writer.write(b"HPUB " + subject + b" _INBOX.raw " + sizes + b"\r\n")
        writer.write(header_block + data + b"\r\n")
        try:
            while True:
                line = await reader.readline()
                if line.startswith(b"MSG "):
                    ack = json.loads(await reader.readline())
                    return ack["seq"]
                assert line.startswith((b"INFO", b"PING", b"PONG")), line
        finally:
            writer.close()
            await writer.wait_closed()
