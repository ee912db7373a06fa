# SPDX-License-Identifier: Apache-2.0
"""The rows of a bus with accounts and a gate, beside the same calls on a bus that a token opens.

    >>> [row.what for row in await rows(Size())][0]
    'send_task by an account, p50'

Two agents of two accounts, each a session of its own; both buses are called in turn.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from gate_process import gate_beside
from gated import joined, ungated
from homes import environ, flooding
from mcp import Client, StdioServerParameters
from measure import Bar, Row, Size, row
from rows_calls import quietly

from mcp_agentbus.bus import embedded
from mcp_agentbus.config.settings import Settings

_WARM_UP = 3
_CALLS = (
    "send_task", "read_inbox peeking", "read_inbox", "publish_result", "read_inbox of its sender",
    "list_agents",
)  # fmt: skip
_BAR = Bar(2.0)


async def rows(size: Size) -> list[Row]:
    """Measure all of them."""
    ours: dict[str, list[float]] = {}
    floor: dict[str, list[float]] = {}
    async with _by_accounts() as accounts, _by_token() as token:
        for number in range(_WARM_UP + size.calls):
            for (planner, coder), figures in ((accounts, ours), (token, floor)):
                for call, took in (await _round(planner, coder, size.body)).items():
                    if number >= _WARM_UP:
                        figures.setdefault(call, []).append(took)
    return [
        row(
            f"{call} by an account, p50", ours[call], floor[call],
            unit="ms", floor_is="the same by a token", bar=_BAR,
        )
        for call in _CALLS
    ]  # fmt: skip


@asynccontextmanager
async def _by_accounts() -> AsyncIterator[tuple[Client, Client]]:
    with tempfile.TemporaryDirectory() as folder:
        roles: dict[str, list[str]] = {"laptop": [], "vps": []}
        with ungated(Path(folder), **roles) as shared:
            await joined(shared.admin, roles)
            with gate_beside(shared.admin):
                homes = shared.settings("laptop"), shared.settings("vps")
                async with _two(*homes) as clients:
                    yield clients


@asynccontextmanager
async def _by_token() -> AsyncIterator[tuple[Client, Client]]:
    with embedded.ephemeral() as settings:
        async with _two(settings, settings) as clients:
            yield clients


@asynccontextmanager
async def _two(planners: Settings, coders: Settings) -> AsyncIterator[tuple[Client, Client]]:
    async with AsyncExitStack() as stack:
        clients = []
        for settings, agent in ((planners, "planner"), (coders, "coder")):
            server = StdioServerParameters(
                command=sys.executable, args=flooding(agent)[1:], env=environ(settings)
            )
            client = await stack.enter_async_context(Client(quietly(server)))
            await client.call_tool("read_inbox", {})
            clients.append(client)
        yield clients[0], clients[1]


async def _round(planner: Client, coder: Client, body: str) -> dict[str, float]:
    """Hand a task over and back; return what each call took, in seconds."""
    took: dict[str, float] = {}

    async def call(client: Client, what: str, **arguments: Any) -> str:
        began = time.perf_counter()
        result = await client.call_tool(what.partition(" ")[0], arguments)
        took[what] = time.perf_counter() - began
        assert not result.is_error, result.content
        return str(result)

    sent = await call(planner, "send_task", to="coder", subject="Count", body=body)
    await call(coder, "read_inbox peeking", peek=True)
    await call(coder, "read_inbox")
    [task_id, *_] = re.findall(r"[0-9a-f]{32}", sent)
    await call(coder, "publish_result", task_id=task_id, status="completed", summary="Done.")
    await call(planner, "read_inbox of its sender")
    await call(planner, "list_agents")
    return took
