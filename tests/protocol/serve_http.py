# SPDX-License-Identifier: Apache-2.0
"""Serve the same server object by HTTP on 127.0.0.1, for the conformance tests only.

    $ AGENTBUS_HOME=/tmp/bus python serve_http.py conformance
    39327

The port that it prints is the system's choice. It ends with its input. The program that people run
speaks standard input and output only.
"""

import asyncio
import socket
import sys

import uvicorn

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.tools import mcp_server


async def main(agent: str) -> None:
    settings = load_settings()
    async with Bus.connect(settings) as bus, Session(bus, Agent(agent)) as session:
        await session.called()
        app = mcp_server.make_server(session).streamable_http_app()
        http = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none"))

        def end() -> None:
            http.should_exit = True

        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), end)
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            print(listening.getsockname()[1], flush=True)
            await http.serve([listening])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
