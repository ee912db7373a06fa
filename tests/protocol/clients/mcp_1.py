# SPDX-License-Identifier: Apache-2.0
"""The MCP SDK for Python, before 2.0: a session on a pair of streams."""

from contextlib import asynccontextmanager

import lines
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client


@asynccontextmanager
async def opened(program, args, environ):
    parameters = StdioServerParameters(command=program, args=args, env=environ)
    async with stdio_client(parameters) as streams, ClientSession(*streams) as session:
        await session.initialize()

        async def call(tool, arguments):
            result = await session.call_tool(tool, arguments)
            return lines.text_of(result.content), result.isError

        yield call


lines.run(opened)
