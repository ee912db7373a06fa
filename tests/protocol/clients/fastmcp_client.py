# SPDX-License-Identifier: Apache-2.0
"""FastMCP's client, which raises what a tool refuses."""

from contextlib import asynccontextmanager

import lines
from fastmcp import Client
from fastmcp.client.transports import StdioTransport
from fastmcp.exceptions import ToolError


@asynccontextmanager
async def opened(program, args, environ):
    async with Client(StdioTransport(command=program, args=args, env=environ)) as client:

        async def call(tool, arguments):
            try:
                result = await client.call_tool(tool, arguments)
            except ToolError as error:
                return str(error), True
            return lines.text_of(result.content), False

        yield call


lines.run(opened)
