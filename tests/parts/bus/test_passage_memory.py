# SPDX-License-Identifier: Apache-2.0
"""A gate has a connection for each account: what one takes decides how many it serves."""

from __future__ import annotations

import tracemalloc
from contextlib import AsyncExitStack

from made_server import made_server

from mcp_agentbus.bus.address import find_servers
from mcp_agentbus.bus.raw.passage import Passage

_COUNT = 20
# The rest is what OpenSSL, asyncio and nats-py take.
_EACH_MAX_BYTES = 96 << 10


async def test_a_connection_by_tls_takes_little_memory(tmp_path):
    with made_server(tmp_path / "bus") as server:
        [address] = find_servers(server.owner, may_start=False)
        async with AsyncExitStack() as stack:

            async def opened():
                stack.push_async_callback((await Passage.open(address)).close)

            await opened()  # with what is loaded once
            tracemalloc.start()
            stack.callback(tracemalloc.stop)
            for _ in range(_COUNT):
                await opened()
            taken, _ = tracemalloc.get_traced_memory()

    assert taken / _COUNT < _EACH_MAX_BYTES
