# SPDX-License-Identifier: Apache-2.0
"""The rows of tool calls as a host makes them: a real client, servers over standard input.

    >>> [row.what for row in await rows(Size(), with_peers=False)][0]
    'send_task through a stdio client, p50'

All servers of a row run at once and are called in turn, from the same client in the same process.
Ours are relayed to a listener, as they are wherever agentbus is used for more than a moment.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import forked_client
import peers
from homes import environ, listener, serving
from mcp import Client, StdioServerParameters
from measure import Bar, Row, Size, interleaved, missing, row
from rows_bus import session_of

from mcp_agentbus.bus import embedded
from mcp_agentbus.config.settings import Settings

FLOOR_SERVER = Path(__file__).with_name("floor_server.py")
_SETTLE_S = 0.06
_SENDS = "send_task through a stdio client, p50"
_WAITS = "send_task -> blocked watch_inbox, stdio clients, p50"
PEER = "swarmbus 0.2.0"
#: An open client, and what starts its server.
_Call = Callable[[], Awaitable[Any]]


async def rows(size: Size, *, with_peers: bool) -> list[Row]:
    """Measure all of them."""
    found = [await _send_row(size), await _archive_row(size)]
    bars = {_SENDS: Bar(1.05), _WAITS: Bar(0.72)}
    if not with_peers:
        return found + [missing(what, PEER, bar, "run with --peers") for what, bar in bars.items()]
    try:
        with swarmbus() as swarm:
            found.append(await _peer_send_row(size, swarm, bars[_SENDS]))
            found.append(await _peer_wait_row(size, swarm, bars[_WAITS]))
    except peers.Missing as error:
        found += [missing(what, PEER, bar, str(error)) for what, bar in bars.items()]
    return found


@contextmanager
def swarmbus() -> Iterator[Callable[[str], StdioServerParameters]]:
    """Run a broker; give what names the server of an agent on it."""
    program = peers.peer(*peers.SWARMBUS)
    with peers.mosquitto() as port, tempfile.TemporaryDirectory() as folder:

        def server(agent: str) -> StdioServerParameters:
            # Durable and visible, as ours is without being told.
            args = ["mcp-server", "--agent-id", agent, "--broker", "127.0.0.1", "--port", str(port)]
            args += ["--persistent", "--presence", "--state-dir", folder]
            return StdioServerParameters(command=str(program), args=args)

        yield server


def _ours(settings: Settings, agent: str) -> StdioServerParameters:
    return StdioServerParameters(
        command=sys.executable, args=serving(agent)[1:], env=environ(settings)
    )


@asynccontextmanager
async def planner_client(configured: str = "") -> AsyncIterator[tuple[Settings, Client]]:
    """Give a client of planner's session on a server where coder is registered."""
    with embedded.ephemeral() as settings:
        if configured:
            settings.config_file.write_text(configured)
        with listener(settings):
            async with session_of(settings, "coder"):
                pass
            async with _client(_ours(settings, "planner")) as client:
                yield settings, client


@asynccontextmanager
async def _client(server: StdioServerParameters) -> AsyncIterator[Client]:
    async with Client(quietly(server)) as client:
        yield client


@asynccontextmanager
async def quietly(server: StdioServerParameters) -> AsyncIterator[Any]:
    """Connect to a server whose log nobody wants to see."""
    with tempfile.TemporaryFile("w") as log:
        async with forked_client.stdio(server, errlog=log) as streams:
            yield streams


async def _call(client: Client, tool: str, **arguments: Any) -> Any:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return result


async def timed_call(client: Client, tool: str, **arguments: Any) -> float:
    """Call a tool; return the seconds until its answer."""
    began = time.perf_counter()
    await _call(client, tool, **arguments)
    return time.perf_counter() - began


async def _send_row(size: Size) -> Row:
    floor_server = StdioServerParameters(command=sys.executable, args=[str(FLOOR_SERVER)])
    async with planner_client() as (_, ours), _client(floor_server) as floor:
        figures = await interleaved(
            size.calls,
            lambda: timed_call(ours, "send_task", to="coder", subject="Count", body=size.body),
            lambda: timed_call(floor, "nothing"),
        )
    return row(_SENDS, *figures, unit="ms", floor_is="empty call, same SDK", bar=Bar(1.8))


async def _archive_row(size: Size) -> Row:
    """What it costs a sender that its listener keeps what becomes of tasks."""
    async with (
        planner_client() as (_, ours),
        planner_client("[archive]\nenabled = false\n") as (_, floor),
    ):
        sending = {"to": "coder", "subject": "Count", "body": size.body}
        figures = await interleaved(
            size.calls,
            lambda: timed_call(ours, "send_task", **sending),
            lambda: timed_call(floor, "send_task", **sending),
        )
    return row(_SENDS, *figures, unit="ms", floor_is="the same without an archive", bar=Bar(1.1))


async def _peer_send_row(size: Size, swarm: Any, bar: Bar) -> Row:
    async with planner_client() as (_, ours), _client(swarm("sender")) as peer:
        figures = await interleaved(
            size.calls,
            lambda: timed_call(ours, "send_task", to="coder", subject="Count", body=size.body),
            lambda: timed_call(peer, "send_message", to="nobody", subject="Count", body=size.body),
        )
    return row(_SENDS, *figures, unit="ms", floor_is=PEER, bar=bar)


async def _peer_wait_row(size: Size, swarm: Any, bar: Bar) -> Row:
    async with AsyncExitStack() as stack:
        settings, planner = await stack.enter_async_context(planner_client())
        coder, sender, receiver = [
            await stack.enter_async_context(_client(server))
            for server in (_ours(settings, "coder"), swarm("sender"), swarm("receiver"))
        ]
        read: list[str] = []

        async def ours() -> float:
            took, found = await _woken(
                lambda: _call(coder, "watch_inbox", timeout_s=30),
                lambda: _call(planner, "send_task", to="coder", subject="Wake", body=size.body),
            )
            for task in found.meta["agentbus/inbox"]["tasks"]:
                await _call(coder, "publish_result", task_id=task["task_id"], status="completed")
            return took

        async def peer() -> float:
            message = {"to": "receiver", "subject": "Wake", "body": size.body}
            took, found = await _woken(
                lambda: _call(receiver, "read_inbox", wait_seconds=30, ack_ids=read),
                lambda: _call(sender, "send_message", **message),
            )
            read[:] = [one["id"] for one in found.structured_content["result"]]
            assert read
            return took

        figures = await interleaved(size.waits, ours, peer)
    return row(_WAITS, *figures, unit="ms", floor_is=PEER, bar=bar)


async def _woken(wait: _Call, send: _Call) -> tuple[float, Any]:
    """Block in `wait`, send, and return the seconds until it came back, and with what."""
    waiting = asyncio.create_task(wait())
    await asyncio.sleep(_SETTLE_S)
    assert not waiting.done(), waiting.result()
    began = time.perf_counter()
    sending = asyncio.create_task(send())
    found = await waiting
    took = time.perf_counter() - began
    await sending
    return took, found
