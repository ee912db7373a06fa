# SPDX-License-Identifier: Apache-2.0
"""The rows of many sessions on one listener: what they need together, and what one does to another.

>>> [row.what for row in await rows(Size())][0]
'20 sessions, relayed: memory of all processes (RSS)'
"""

from __future__ import annotations

import asyncio
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from homes import Server, environ, listener, memory, session
from measure import Bar, Row, Size, interleaved, row

from mcp_agentbus.bus import embedded
from mcp_agentbus.config.settings import Settings

_NEIGHBOUR = Path(__file__).with_name("neighbour.py")
_CALLS = 5
# Until a flood has built up, or has run dry.
_SETTLE_S = 0.5
_BAR = Bar(2.0)


async def rows(size: Size) -> list[Row]:
    """Measure all of them."""
    return [_memory_row(size), await _flood_row(size), await _hang_row(size)]


def _memory_row(size: Size) -> Row:
    needed = [_memory_of(size.sessions, relayed=relayed) for relayed in (True, False)]
    return row(
        f"{size.sessions} sessions, relayed: memory of all processes (RSS)",
        needed[:1],
        needed[1:],
        unit="MiB",
        floor_is="the same, alone",
        bar=Bar(0.25),
        note="with the listener, without the nats-server; each after one call",
    )


def _memory_of(count: int, *, relayed: bool) -> float:
    with ExitStack() as stack:
        settings = stack.enter_context(embedded.ephemeral())
        pids = [stack.enter_context(listener(settings))] if relayed else []
        pids += [
            stack.enter_context(session(settings, f"agent-{number}")).pid for number in range(count)
        ]
        return sum(map(memory, pids))


@contextmanager
def _neighbour(settings: Settings, kind: str, size: Size) -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, str(_NEIGHBOUR), kind, str(size.flood)]
    process = subprocess.Popen(argv, env=environ(settings), stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"on\n"
        yield process
    finally:
        process.kill()  # its session ends with its input
        process.wait()
        process.stdout.close()


def _several(one: Server) -> float:
    return statistics.median(one.call("list_agents") for _ in range(_CALLS))


async def _flood_row(size: Size) -> Row:
    with ExitStack() as stack:
        settings = stack.enter_context(embedded.ephemeral())
        stack.enter_context(listener(settings))
        for number in range(size.sessions - 2):
            stack.enter_context(session(settings, f"agent-{number}"))
        one = stack.enter_context(session(settings, "coder"))
        neighbour = stack.enter_context(_neighbour(settings, "flood", size))

        async def flooded() -> float:
            neighbour.send_signal(signal.SIGCONT)
            await asyncio.sleep(_SETTLE_S)
            return _several(one)

        async def quiet() -> float:
            neighbour.send_signal(signal.SIGSTOP)
            await asyncio.sleep(_SETTLE_S)
            return _several(one)

        figures = await interleaved(size.rounds, flooded, quiet, warm_up=1)
    return row(
        f"list_agents while another session floods ({size.flood} calls at once)",
        *figures,
        unit="ms",
        floor_is="the same, quiet",
        bar=_BAR,
        note=f"one of {size.sessions} sessions on the listener, all others idle",
    )


async def _hang_row(size: Size) -> Row:
    with ExitStack() as stack:
        sides: list[Server] = []
        for kind in ("hang", ""):
            settings = stack.enter_context(embedded.ephemeral())
            stack.enter_context(listener(settings))
            if kind:
                stack.enter_context(_neighbour(settings, kind, size))
            else:  # as many agents to list
                with session(settings, "neighbour"):
                    pass
            sides.append(stack.enter_context(session(settings, "coder")))

        async def beside() -> float:
            return sides[0].call("list_agents")

        async def quiet() -> float:
            return sides[1].call("list_agents")

        figures = await interleaved(size.calls, beside, quiet)
    return row(
        "list_agents while another session reads no answers",
        *figures,
        unit="ms",
        floor_is="the same, on another listener, quiet",
        bar=_BAR,
    )
