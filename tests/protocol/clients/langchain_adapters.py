# SPDX-License-Identifier: Apache-2.0
"""LangChain's adapters: tools that start a server for each call, or those of one session."""

from contextlib import asynccontextmanager

import lines
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools


def caller(listed):
    tools = {tool.name: tool for tool in listed}

    async def call(tool, arguments):
        asked = {"type": "tool_call", "id": "1", "name": tool, "args": arguments}
        message = await tools[tool].ainvoke(asked)
        return message.text, message.status == "error"

    return call


@asynccontextmanager
async def opened(program, args, environ, *, session):
    connection = {"transport": "stdio", "command": program, "args": args, "env": environ}
    client = MultiServerMCPClient({"agentbus": connection})
    if session:
        async with client.session("agentbus") as one_session:
            yield caller(await load_mcp_tools(one_session))
    else:
        yield caller(await client.get_tools())


lines.run(opened)
