# SPDX-License-Identifier: Apache-2.0
"""The OpenAI Agents SDK, whose runner converts a server's tools, to strict schemas if it is told.

A strict schema has every argument required, and its defaults do not bind: a model has to say
something for each. Here it is what says least: an empty text, 0, false, no items, the first word.
"""

import json
from contextlib import asynccontextmanager

import lines
from agents import Agent
from agents.mcp import MCPServerStdio, MCPUtil
from agents.run_context import RunContextWrapper
from agents.tool_context import ToolContext

EMPTY = {"string": "", "number": 0, "integer": 0, "boolean": False, "array": []}


def least(schema):
    """Return what says least for an argument."""
    schema = schema["anyOf"][0] if "anyOf" in schema else schema
    return schema["enum"][0] if "enum" in schema else EMPTY[schema["type"]]


@asynccontextmanager
async def opened(program, args, environ, *, strict):
    given = {"command": program, "args": args, "env": environ}
    async with MCPServerStdio(params=given, cache_tools_list=True) as server:
        agent = Agent(name="a", mcp_servers=[server])
        listed = await MCPUtil.get_all_function_tools(
            [server], strict, RunContextWrapper(context=None), agent
        )
        tools = {tool.name: tool for tool in listed}
        # What could not be converted stays loose, with a warning in a log.
        assert {tool.strict_json_schema for tool in tools.values()} == {strict}

        async def call(tool, arguments):
            schema = tools[tool].params_json_schema
            if strict:
                required = {name: schema["properties"][name] for name in schema["required"]}
                arguments = {name: least(one) for name, one in required.items()} | arguments
            written = json.dumps(arguments)
            context = ToolContext(None, tool_name=tool, tool_call_id="1", tool_arguments=written)
            output = await tools[tool].on_invoke_tool(context, written)
            # What the library itself says of a failure is no part of a result.
            return output if isinstance(output, str) else output["text"], None

        yield call


lines.run(opened)
