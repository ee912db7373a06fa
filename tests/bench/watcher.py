# SPDX-License-Identifier: Apache-2.0
"""Another process that waits for a message, again and again, and says when it came.

    $ AGENTBUS_HOME=/tmp/bus python watcher.py inbox coder
    waiting
    163408110334          <- time.monotonic_ns(), one clock for all processes of a machine
    waiting

`inbox AGENT` waits in `watch_inbox`; `raw SUBJECT` in a bare subscription of nats-py. It ends with
the end of its input.
"""

from __future__ import annotations

import asyncio
import sys
import time

import nats

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import watch_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.session import Session


async def _inbox(agent: str) -> None:
    async with Bus.connect(load_settings()) as bus, Session(bus, Agent(agent)) as session:
        await session.called()
        await session.can_read()
        while True:
            print("waiting", flush=True)
            read = await watch_inbox(session, timeout_s=600)
            print(time.monotonic_ns(), flush=True)
            for item in read.tasks:
                await publish_result(session, item.task.id, "completed")


async def _raw(subject: str) -> None:
    settings = load_settings()
    client = await nats.connect(
        embedded.find(settings).url, token=embedded.read_token(settings), allow_reconnect=False
    )
    messages = (await client.subscribe(subject)).messages
    await client.flush()
    while True:
        print("waiting", flush=True)
        await anext(messages)
        print(time.monotonic_ns(), flush=True)


async def main(kind: str, name: str) -> None:
    work = asyncio.create_task({"inbox": _inbox, "raw": _raw}[kind](name))
    end = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    await asyncio.wait((work, end), return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        work.result()
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
