# SPDX-License-Identifier: Apache-2.0
"""Cursor without its window: its command line program, with the notice as the prompt.

    $ cursor-agent -p --output-format json ... '1 task waits in your agentbus inbox. ...'

The program has no switch for a server of one run: it uses the folder's or the user's `mcp.json`,
and starts what those name. So what it does cannot be limited from here, and it is woken to `work`
alone, where its user has said so.
"""

from __future__ import annotations

from typing import Final

from mcp_agentbus.wakes.hosts.process import run
from mcp_agentbus.wakes.hosts.protocol import Ended, WakeOrder, on_path

#: What it is started by: one program under two names; other products have an `agent` too.
PROGRAMS: Final = ("cursor-agent", "agent")


def argv(call: WakeOrder, notice: str) -> list[str]:
    """Return what is started; empty if Cursor's program is not installed."""
    rules = call.rules
    program = on_path(PROGRAMS, call.environ)
    if not program:
        return []
    force = rules.permission_mode == "force"
    return [
        program,
        "-p",
        "--output-format",
        "json",
        "--approve-mcps",
        "--trust",
        "--workspace",
        str(rules.folder),
        *(["--force"] if force else []),
        *(["--resume", rules.chat] if rules.chat else []),
        notice,
    ]


async def wake(call: WakeOrder) -> Ended:
    """Start Cursor's program and wait for its end."""
    started = argv(call, await call.notice())
    if not started:
        return Ended("not_started", "neither cursor-agent nor agent is installed")
    limit = call.rules.limits.time_limit_s
    return await run(started, stdin=b"", call=call, time_limit_s=limit)
