# SPDX-License-Identifier: Apache-2.0
"""The MCP SDK for Python, from 2.0 on: its client asks for the newest era of the protocol first."""

from contextlib import asynccontextmanager

import lines
from mcp import Client, StdioServerParameters


@asynccontextmanager
async def opened(program, args, environ):
    parameters = StdioServerParameters(command=program, args=args, env=environ)
    async with Client(parameters) as client:

        async def call(tool, arguments):
            result = await client.call_tool(tool, arguments)
            return lines.text_of(result.content), result.is_error

        yield call


lines.run(opened)
