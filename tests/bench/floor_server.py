# SPDX-License-Identifier: Apache-2.0
"""The least that an MCP server on this SDK can be: one tool that does nothing.

$ python floor_server.py        # speaks MCP on stdin and stdout
"""

from __future__ import annotations

import anyio
import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

_TOOL = types.Tool(name="nothing", input_schema={"type": "object"})
_DONE = types.CallToolResult(content=[types.TextContent(type="text", text="done")])


async def _list_tools(_context, _params):
    return types.ListToolsResult(tools=[_TOOL])


async def _call_tool(_context, _params):
    return _DONE


async def main() -> None:
    server = Server("nothing", on_list_tools=_list_tools, on_call_tool=_call_tool)
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


if __name__ == "__main__":
    anyio.run(main)
