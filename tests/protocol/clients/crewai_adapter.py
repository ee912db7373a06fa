# SPDX-License-Identifier: Apache-2.0
"""CrewAI's adapter, which makes a model of each tool and fills in what was not given."""

from contextlib import ExitStack

import lines
from crewai_tools import MCPServerAdapter
from mcp import StdioServerParameters

with ExitStack() as stack:
    agents = {}
    for agent, (program, *args) in lines.TOLD["servers"].items():
        environ = lines.TOLD["environ"]
        parameters = StdioServerParameters(command=program, args=args, env=environ)
        tools = stack.enter_context(MCPServerAdapter(parameters))
        agents[agent] = {tool.name: tool for tool in tools}
    for agent, tool, arguments in lines.asked():
        lines.answer(agents[agent][tool].run(**arguments), refused=None)
