# SPDX-License-Identifier: Apache-2.0
"""The rows of a listener that has nothing to do: what it takes of a core, and of memory.

>>> [row.what for row in await rows(Size())][0]
'idle listener with 20 agents: CPU'
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

from measure import Row, Size, row
from rows_wakes import SETTLED_S, bare_listener, listener

from mcp_agentbus.bus import embedded

_IDLE_AGENTS = 20
_IDLE_LIMIT = 0.5  # percent of one core


async def rows(size: Size) -> list[Row]:
    """Measure both."""
    agents = [f"agent-{number}" for number in range(_IDLE_AGENTS)]
    command = ["/bin/cat"]
    with embedded.ephemeral() as settings:
        async with (
            listener(settings, agents, command) as ours,
            bare_listener(settings, command) as floor,
        ):
            await asyncio.sleep(SETTLED_S)
            pids = (ours.pid, floor.pid)
            before = [_cpu_s(pid) for pid in pids]
            began = time.monotonic()
            await asyncio.sleep(size.idle_s)
            took = time.monotonic() - began
            cpu = [100 * (_cpu_s(pid) - was) / took for pid, was in zip(pids, before, strict=True)]
            memory = [_memory(pid) for pid in pids]
    what, floor_is = f"idle listener with {_IDLE_AGENTS} agents", "idle nats-py client"
    return [
        Row(
            what=f"{what}: CPU",
            floor_is=floor_is,
            unit="%",
            ours=cpu[0],
            floor=cpu[1],
            bar=f"< {_IDLE_LIMIT} %",
            met=cpu[0] < _IDLE_LIMIT,
            note=f"of one core, in {took:.0f} s",
        ),
        row(
            f"{what}: memory (RSS)",
            memory[:1],
            memory[1:],
            unit="MiB",
            floor_is=floor_is,
            note="at the end of it",
        ),
    ]


def _cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process so far, its own and the system's for it."""
    if sys.platform == "linux":
        # What clock_getcpuclockid(3) returns; /proc/PID/stat counts in steps of 10 ms, which is
        # more than an idle process may need.
        return time.clock_gettime((~pid << 3) | 2)
    minutes, _, seconds = _ps("time", pid).rpartition(":")
    return 60 * float(minutes) + float(seconds)


def _memory(pid: int) -> float:
    return float(_ps("rss", pid)) / 1024


def _ps(column: str, pid: int) -> str:
    argv = ["ps", "-o", f"{column}=", "-p", str(pid)]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout
