# SPDX-License-Identifier: Apache-2.0
"""What the drivers share: a client library, called by lines of a test that it knows nothing of.

Standard input has a call a line, `{"agent": ..., "tool": ..., "arguments": {...}}`; standard output
answers each with `{"text": ..., "refused": ...}`: what a model would read. The only argument of a
driver is a JSON object: `servers`, an argv for each agent; `ways`, how each of them uses the
library, where that has several; and `environ`, of those servers.
It has nothing but the standard library, as each driver runs in an environment of its client's.
"""

import asyncio
import json
import sys
from contextlib import AsyncExitStack

TOLD = json.loads(sys.argv[1])


def text_of(parts):
    """Return what there is to read in the content of a tool's result."""
    return "\n".join(part.text for part in parts)


def answer(text, *, refused):
    """Answer the line that was read last."""
    print(json.dumps({"text": text, "refused": refused}), flush=True)


def asked():
    """Yield agent, tool and arguments of each line until there are no more."""
    for line in sys.stdin:
        call = json.loads(line)
        yield call["agent"], call["tool"], call["arguments"]


def run(opened):
    """Open a client for each agent's server, and have it make the calls.

    Args:
        opened: given a server's program, arguments and environment, and by name what `ways` says
            of its agent, an async context manager of what makes a call: given a tool and arguments, it returns the text and whether the
            client took it for an error.
    """
    asyncio.run(_run(opened))


async def _run(opened):
    environ, ways = TOLD["environ"], TOLD["ways"]
    async with AsyncExitStack() as stack:
        callers = {
            agent: await stack.enter_async_context(opened(program, args, environ, **ways[agent]))
            for agent, (program, *args) in TOLD["servers"].items()
        }
        calls = asked()
        while (call := await asyncio.to_thread(next, calls, None)) is not None:
            agent, tool, arguments = call
            text, refused = await callers[agent](tool, arguments)
            answer(text, refused=refused)
