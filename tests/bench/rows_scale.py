# SPDX-License-Identifier: Apache-2.0
"""The rows of large numbers: what records, waiting tasks, agents and sessions cost as they grow.

    >>> [row.what for row in await rows(Size())][0]
    'status by id, 1,000,000 records'

Takes minutes, most of them for a million records. `ours` is the large number, `floor` the small
one; what lies between stands in the note.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

from filling import fill_inbox, fill_records
from homes import Server, listener, memory, session
from measure import Bar, Row, Size, interleaved, row, timed
from rows_bus import session_of

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.store import roster, streams

_CALL = {"name": "list_agents", "arguments": {}}


async def rows(size: Size) -> list[Row]:
    """Measure all of them, each on servers of its own."""
    return [
        *await _record_rows(size),
        *await _waiting_rows(size),
        *await _agent_rows(size),
        *await _session_rows(size),
    ]


@dataclass(frozen=True)
class _Cost:
    """What a server with `count` of something needs."""

    count: int
    #: MiB, before and after its restart.
    memory: float
    after: float
    #: MiB
    disk: float
    #: Seconds of its start.
    restart: float


def _cost(settings: Settings, count: int) -> _Cost:
    """Look at a home's server, stop it in an orderly way, and start it again."""
    before = memory(embedded.ensure(settings).pid)
    disk = _disk(settings)
    embedded.stop(settings)
    began = time.perf_counter()
    again = embedded.ensure(settings)
    took = time.perf_counter() - began
    return _Cost(count, before, memory(again.pid), disk, took)


def _disk(settings: Settings) -> float:
    files = (
        os.path.join(folder, name)  # noqa: PTH118  # a store has a million of them at the worst
        for folder, _, names in os.walk(embedded.Files(settings.data_dir).store)
        for name in names
    )
    return sum(os.stat(one).st_blocks for one in files) * 512 / (1 << 20)  # noqa: PTH116


def _cost_rows(costs: list[_Cost], things: str) -> list[Row]:
    small, *between, large = costs

    def line(what: str, unit: str, figure: Callable[[_Cost], float], note: str = "") -> Row:
        scale = 1000 if unit == "ms" else 1
        curve = [f"{one.count:,}: {figure(one) * scale:.3g}" for one in between]
        return row(
            f"{what}, {large.count:,} {things}",
            [figure(large)],
            [figure(small)],
            unit=unit,
            floor_is=f"the same, {small.count:,}",
            note="; ".join([*curve, *([note] if note else [])]) or "one look",
        )

    after = f"after a restart {large.after:.0f} and {small.after:.0f}"
    return [
        line("nats-server's memory (RSS)", "MiB", lambda one: one.memory, after),
        line("its store on disk", "MiB", lambda one: one.disk),
        line("its start on that store", "ms", lambda one: one.restart),
    ]


async def _record_rows(size: Size) -> list[Row]:
    with embedded.ephemeral() as large, embedded.ephemeral() as small:
        async with session_of(small, "agent-0"), session_of(large, "agent-0"):
            pass
        few = await fill_records(small, size.records[0])
        ids: list[str] = []
        costs: list[_Cost] = []
        stored = 0
        for count in size.records:
            ids += await fill_records(large, count, after=stored)
            stored = count
            if count == size.records[-1]:
                running = await _lookups(size, (large, ids), (small, few))
            costs.append(_cost(large, count))
        fresh, _ = await _lookups(size, (large, ids), (small, few))
    low, middle, high = (1000 * one for one in statistics.quantiles(fresh, n=4))
    status = row(
        f"status by id, {stored:,} records",
        *running,
        unit="ms",
        floor_is=f"the same, {size.records[0]:,} records",
        bar=Bar(1.5),
        note=f"right after its server's restart: {middle:.3g}, quartiles {low:.3g}..{high:.3g}",
    )
    return [status, *_cost_rows(costs, "records")]


async def _lookups(
    size: Size, large: tuple[Settings, list[str]], small: tuple[Settings, list[str]]
) -> tuple[list[float], list[float]]:
    """Look random tasks up on both servers."""
    chance = random.Random(9)
    async with session_of(large[0], "agent-0") as ours, session_of(small[0], "agent-0") as floor:
        return await interleaved(
            size.calls,
            lambda: timed(task_life(ours, chance.choice(large[1]))),
            lambda: timed(task_life(floor, chance.choice(small[1]))),
        )


async def _waiting_rows(size: Size) -> list[Row]:
    costs = []
    for count in (size.shallow, size.deep):
        with embedded.ephemeral() as settings:
            async with session_of(settings, "coder", "planner", reads=True):
                pass
            await fill_inbox(settings, "planner", "coder", count, size.body)
            costs.append(_cost(settings, count))
    return _cost_rows(costs, "waiting tasks of 1 kB")


@asynccontextmanager
async def _agents(count: int) -> AsyncIterator[tuple[Settings, int, Server]]:
    """Give a home where so many agents are registered, its listener's id, and a session there."""
    async with AsyncExitStack() as stack:
        settings = stack.enter_context(embedded.ephemeral())
        async with Bus.connect(settings) as bus:
            await streams.ensure_streams(bus)
            for number in range(count):
                await roster.register(bus, Agent(f"agent-{number}"), None)
        pid = stack.enter_context(listener(settings))
        yield settings, pid, stack.enter_context(session(settings, "planner"))


async def _agent_rows(size: Size) -> list[Row]:
    chance = random.Random(9)
    counts = (size.agents, size.handful)
    async with AsyncExitStack() as stack:
        homes = [await stack.enter_async_context(_agents(count)) for count in counts]
        (_, _, ours), (_, _, floor) = homes
        lists = await interleaved(
            size.calls,
            lambda: _called(ours, "list_agents"),
            lambda: _called(floor, "list_agents"),
        )
        sends = await interleaved(
            size.calls,
            lambda: _sent(ours, chance.randrange(size.agents), size),
            lambda: _sent(floor, chance.randrange(size.handful), size),
        )
        listeners = [memory(pid) for _, pid, _ in homes]
        costs = [
            _cost(settings, count) for (settings, _, _), count in zip(homes, counts, strict=True)
        ]
    floor_is = f"the same, {size.handful}"
    many = f"{size.agents:,} agents"
    return [
        row(f"list_agents, {many}", *lists, unit="ms", floor_is=floor_is),
        row(f"send_task to one of them, {many}", *sends, unit="ms", floor_is=floor_is),
        row(
            f"listener's memory (RSS), {many}",
            *([one] for one in listeners),
            unit="MiB",
            floor_is=floor_is,
            note="with one session",
        ),
        *_cost_rows(costs[::-1], "agents"),
    ]


def _called(one: Server, tool: str, **arguments: object) -> Awaitable[float]:
    async def call() -> float:
        return one.call(tool, **arguments)

    return call()


def _sent(one: Server, number: int, size: Size) -> Awaitable[float]:
    return _called(one, "send_task", to=f"agent-{number}", subject="Count", body=size.body)


@contextmanager
def _crowd(*counts: int) -> Iterator[tuple[list[Server], list[float]]]:
    """Give as many sessions on one listener as the last number, and its memory at each number."""
    with ExitStack() as stack:
        settings = stack.enter_context(embedded.ephemeral())
        pid = stack.enter_context(listener(settings))
        sessions: list[Server] = []
        needed: list[float] = []
        for count in counts:
            for number in range(len(sessions), count):
                sessions.append(stack.enter_context(session(settings, f"agent-{number}")))
                sessions[-1].call("read_inbox")  # an agent's first one makes its inbox
            needed.append(memory(pid))
        yield sessions, needed


async def _session_rows(size: Size) -> list[Row]:
    chance = random.Random(9)
    with _crowd(1, size.handful, size.crowd) as (many, needed), _crowd(1) as ([one], _):
        figures = await interleaved(
            size.calls,
            lambda: _called(chance.choice(many), "read_inbox"),
            lambda: _called(one, "read_inbox"),
        )
        together = [_together(many) for _ in range(size.rounds)]
    crowd, floor_is = f"{size.crowd} sessions on one listener", "the same, 1 session"
    note = f"{size.crowd} list_agents at once: {statistics.median(together) * 1000:.0f} ms for all"
    return [
        row(f"read_inbox in one of {crowd}", *figures, unit="ms", floor_is=floor_is, note=note),
        row(
            f"listener's memory (RSS), {crowd}",
            needed[-1:],
            needed[:1],
            unit="MiB",
            floor_is=floor_is,
            note=f"{size.handful}: {needed[1]:.1f}",
        ),
    ]


def _together(sessions: list[Server]) -> float:
    """Have all of them call at once; return the seconds until the last one has its answer."""
    began = time.perf_counter()
    numbers = [one.request("tools/call", _CALL) for one in sessions]
    for one, number in zip(sessions, numbers, strict=True):
        one.answer(number)
    return time.perf_counter() - began
