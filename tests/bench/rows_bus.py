# SPDX-License-Identifier: Apache-2.0
"""The rows of the Python API, against the bare server: order, long inboxes, many records, sends.

>>> [row.what for row in await rows(Size())][0]
'send -> blocked watch_inbox in another process'
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import forking
from filling import fill_inbox, fill_records, raw_client
from measure import Bar, Row, Side, Size, interleaved, row, timed
from nats.js import JetStreamContext

from mcp_agentbus.bus import client, embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import ids
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import subjects

_WATCHER = Path(__file__).with_name("watcher.py")
_RAW_STREAM = "BENCH"
# Until a call is really blocked: it looks at its inbox first, which takes a few ms.
_SETTLE_S = 0.06
_ANSWER_S = 30


async def rows(size: Size) -> list[Row]:
    """Measure all of them, each on servers of its own."""
    return [
        await _wait_row(size),
        await _order_row(size),
        await _depth_row(size),
        await _status_row(size),
        await _rate_row(size),
    ]


@asynccontextmanager
async def session_of(
    settings: Settings, agent: str, *others: str, reads: bool = False
) -> AsyncIterator[Session]:
    """Open a session of an agent, after each of the others had one."""
    async with Bus.connect(settings) as bus:
        for other in others:
            async with Session(bus, Agent(other)) as session:
                await session.called()
        async with Session(bus, Agent(agent)) as session:
            await session.called()
            if reads:
                await session.can_read()
            yield session


async def make_raw_stream(bus: Bus) -> None:
    """Make a stream for bare publishing, with the settings of the one that keeps tasks."""
    config = (await bus.api(f"STREAM.INFO.{subjects.TASKS}"))["config"]
    config = {key: value for key, value in config.items() if key != "sources"}
    republish = {"src": "bench.in.*", "dest": "bench.out.{{wildcard(1)}}", "headers_only": True}
    changes = {"name": _RAW_STREAM, "subjects": ["bench.in.*"], "republish": republish}
    changes |= {"max_bytes": 64 << 20, "max_msgs_per_subject": 1_000_000}
    await bus.api(f"STREAM.CREATE.{_RAW_STREAM}", {**config, **changes})


class _Watcher:
    """The other process that waits."""

    def __init__(self, process: forking.Awaited) -> None:
        self._process = process

    async def after(self, send: Any) -> float:
        """Let it wait, send, and return the seconds until it had the message."""
        assert await self._line() == "waiting"
        await asyncio.sleep(_SETTLE_S)
        began = time.monotonic_ns()
        await send()
        return (int(await self._line()) - began) / 1e9

    async def _line(self) -> str:
        line = await asyncio.wait_for(self._process.stdout.readline(), _ANSWER_S)
        return line.decode().strip()


@asynccontextmanager
async def _watcher(settings: Settings, *args: str) -> AsyncIterator[_Watcher]:
    process = await forking.Awaited.started(
        [sys.executable, str(_WATCHER), *args],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={
            **settings.environ,
            "AGENTBUS_HOME": str(settings.data_dir.parent),
            "AGENTBUS_LISTENER": "off",
        },
    )
    try:
        yield _Watcher(process)
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _wait_row(size: Size) -> Row:
    async with AsyncExitStack() as stack:
        settings = stack.enter_context(embedded.ephemeral())
        session = await stack.enter_async_context(session_of(settings, "planner", "coder"))
        await make_raw_stream(session.bus)
        client = await stack.enter_async_context(raw_client(settings))
        stream = client.jetstream()
        ours = await stack.enter_async_context(_watcher(settings, "inbox", "coder"))
        floor = await stack.enter_async_context(_watcher(settings, "raw", "bench.out.>"))
        data = size.body.encode()
        figures = await interleaved(
            size.waits,
            lambda: ours.after(lambda: send_task(session, "coder", "Wake up", size.body)),
            lambda: floor.after(lambda: stream.publish("bench.in.x", data)),
        )
    return row(
        "send -> blocked watch_inbox in another process",
        *figures,
        unit="ms",
        floor_is="raw publish -> republish there",
    )


async def _order_row(size: Size) -> Row:
    with embedded.ephemeral() as settings:
        async with session_of(settings, "coder", "planner", reads=True) as session:
            await fill_inbox(settings, "planner", "coder", size.deep, size.body)
            planner = Session(session.bus, Agent("planner"))
            await send_task(planner, "coder", "The urgent one", size.body, priority="high")
            await planner.close()
            read = await read_inbox(session, limit=5)
            subjects = [item.task.subject for item in read.tasks]
    place = subjects.index("The urgent one") + 1 if "The urgent one" in subjects else 6
    return Row(
        what=f"high task behind {size.deep:,} normal ones: place in next read",
        floor_is="first",
        ours=place,
        floor=1,
        bar="first",
        met=place == 1,
        note="6 means not among the first 5",
    )


async def _depth_row(size: Size) -> Row:
    async with AsyncExitStack() as stack:
        sides = [
            await stack.enter_async_context(_reading(count, size.body))
            for count in (size.deep, size.shallow)
        ]
        figures = await interleaved(size.calls, *sides)
    return row(
        f"read_inbox, {size.deep:,} waiting",
        *figures,
        unit="ms",
        floor_is=f"the same, {size.shallow} waiting",
        bar=Bar(1.3),
    )


@asynccontextmanager
async def _reading(count: int, body: str) -> AsyncIterator[Side]:
    """Give what reads from an inbox where `count` tasks wait, and keeps it at that."""
    with embedded.ephemeral() as settings:
        async with (
            session_of(settings, "coder", "planner", reads=True) as coder,
            session_of(settings, "planner") as planner,
        ):
            await fill_inbox(settings, "planner", "coder", count, body)

            async def read() -> float:
                began = time.perf_counter()
                found = await read_inbox(coder, limit=5)
                took = time.perf_counter() - began
                assert len(found.tasks) == 5
                for item in found.tasks:
                    await publish_result(coder, item.task.id, "completed")
                    await send_task(planner, "coder", "Another", body)
                return took

            yield read


async def _status_row(size: Size) -> Row:
    async with AsyncExitStack() as stack:
        sides = [
            await stack.enter_async_context(_looking(count)) for count in (size.many, size.few)
        ]
        figures = await interleaved(size.calls, *sides)
    return row(
        f"status by id, {size.many:,} records",
        *figures,
        unit="ms",
        floor_is=f"the same, {size.few:,} records",
        bar=Bar(1.5),
    )


@asynccontextmanager
async def _looking(count: int) -> AsyncIterator[Side]:
    """Give what looks a random task up among `count` records."""
    with embedded.ephemeral() as settings:
        async with session_of(settings, "agent-0") as session:
            ids = await fill_records(settings, count)
            chance = random.Random(9)

            async def look() -> float:
                return await timed(task_life(session, chance.choice(ids)))

            yield look


async def _rate_row(size: Size) -> Row:
    async with AsyncExitStack() as stack:
        settings = stack.enter_context(embedded.ephemeral())
        session = await stack.enter_async_context(session_of(settings, "planner", "coder"))
        await make_raw_stream(session.bus)
        stream = (await stack.enter_async_context(raw_client(settings))).jetstream()

        async def ours() -> None:
            await send_task(session, "coder", "One of many", size.body)

        async def floor() -> None:
            both = (publish_raw(stream, size.body) for _ in range(2))
            await asyncio.gather(*both)

        figures = await interleaved(
            2 * size.rounds, lambda: rate_of(size.burst, ours), lambda: rate_of(size.burst, floor)
        )
    return row(
        "in-order sends per second, Python API",
        *figures,
        unit="/s",
        # What a send stores, without a wait between.
        floor_is="two js.publish of nats-py at once",
        bar=Bar(0.85, at_least=True),
    )


async def publish_raw(stream: JetStreamContext, body: str) -> None:
    """Store a message in the stream of `make_raw_stream`, with an id as ours have."""
    headers = {client.H_MSG_ID: ids.new_session_id()}
    await stream.publish("bench.in.x", body.encode(), headers=headers)


async def rate_of(count: int, work: Callable[[], Awaitable[None]]) -> float:
    """Do something so often in a row; return how often a second that is."""
    began = time.perf_counter()
    for _ in range(count):
        await work()
    return count / (time.perf_counter() - began)
