# SPDX-License-Identifier: Apache-2.0
"""A session of an agent in a process of its own, steered through its pipes.

    $ AGENTBUS_HOME=/tmp/bus python worker.py coder '{"store.queries.consumers.ACK_WAIT_S": 2}'
    {"pid": 4711, "session": "0d1f..."}
    {"do": "read", "limit": 5}
    {"tasks": ["9d0c..."], "attempts": [1], "results": [], ...}

Commands are lines of JSON, and so are the answers. The end of its input ends the session.
"""

import asyncio
import importlib
import json
import os
import signal
import sys

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.handoff import inbox, results, send
from mcp_agentbus.handoff.session import Session


async def read(session, **options):
    return told(await inbox.read_inbox(session, **options))


async def watch(session, **options):
    return told(await inbox.watch_inbox(session, **options))


async def publish(session, task_id, status, **details):
    published = await results.publish_result(session, task_id, status, **details)
    return {"state": published.state, "unchanged": published.unchanged, "late": published.late}


async def post(session, to, subject, body, **options):
    receipts = await send.send_task(session, to, subject, body, **options)
    return {"receipts": [receipt.model_dump(mode="json") for receipt in receipts]}


async def work(session, limit, share=1):
    """Take tasks and finish the first of each `share` until there are no more."""
    while True:
        taken = (await inbox.watch_inbox(session, timeout_s=0, limit=limit)).tasks
        if not taken:
            return {"finished": 0}
        say({"took": [item.task.id for item in taken]})
        for item in taken[::share]:
            await results.publish_result(session, item.task.id, "completed")
            say({"finished": 1, "task": item.task.id})


async def die_before(session, what):
    """Be killed the next time that a method of the bus is called."""

    async def die(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(session.bus, what, die)
    return {}


DO = {one.__name__: one for one in (read, watch, publish, post, work, die_before)}


def told(answer):
    return {
        "tasks": [item.task.id for item in answer.tasks],
        "attempts": [item.attempt for item in answer.tasks],
        "results": [[record.task_id, record.state] for record in answer.results],
        "replies": [reply.body for item in answer.tasks for reply in item.answers]
        + [item.decision.note for item in answer.tasks if item.decision],
        "notes": answer.notes,
        "timed_out": answer.timed_out,
    }


def say(what):
    print(json.dumps(what), flush=True)


async def main(agent, changes):
    for name, value in changes.items():
        module, _, constant = name.rpartition(".")
        setattr(importlib.import_module(f"mcp_agentbus.{module}"), constant, value)
    async with Bus.connect() as bus, Session(bus, Agent(agent)) as session:
        await session.called()
        await session.can_read()
        say({"pid": os.getpid(), "session": session.id})
        while line := await asyncio.to_thread(sys.stdin.readline):
            command = json.loads(line)
            try:
                say(await DO[command.pop("do")](session, **command))
            except AgentbusError as error:
                say({"error": type(error).__name__, "message": error.message})


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
    except AgentbusError as error:  # of its beginning: those of a command are answers
        say({"error": type(error).__name__, "message": error.message})
        sys.exit(error.exit_code)
