# SPDX-License-Identifier: Apache-2.0
"""The rows of large numbers: what records, waiting tasks, agents and sessions cost as they grow.

    >>> [row.what for row in await rows(Size())][0]
    'life of a task by id, 1,000,000 records'

Takes minutes, most of them for a million records. `ours` is the large number, `floor` the small
one; what lies between stands in the note.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

from filling import fill_inbox, fill_records
from homes import Server, listener, memory, session
from measure import Bar, Row, Side, Size, interleaved, row, timed
from rows_bus import session_of

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import roster, streams

_LIFE = Bar(1.2)
# Looks at tasks that nobody has looked at, far fewer than there are blocks: 92 with 10^6 records.
_FIRST = 30
# So many tasks are looked at again and again: what a session has to do with at a time.
_FEW = 5
_LISTED = Bar(2.5)
_HELD_MIB = 300
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
            costs.append(_cost(large, count))
        lives = await _life_rows(size, (large, ids), (small, few))
        held = await _held_rows(size, (large, ids), (small, few))
    return [*lives, *held, *_cost_rows(costs, "records")]


_Filled = tuple[Settings, list[str]]


async def _life_rows(size: Size, large: _Filled, small: _Filled) -> list[Row]:
    """Look random tasks up on both servers, once each, and then a few of them again and again."""
    chance = random.Random(9)
    async with session_of(large[0], "agent-0") as ours, session_of(small[0], "agent-0") as floor:

        def look(session: Session, ids: list[str]) -> Side:
            return lambda: timed(task_life(session, chance.choice(ids)))

        rounds = min(size.calls, _FIRST)
        first = await interleaved(rounds, look(ours, large[1]), look(floor, small[1]))
        few = [chance.choices(ids, k=_FEW) for _, ids in (large, small)]
        for session, ids in zip((ours, floor), few, strict=True):
            for task_id in ids:
                await task_life(session, task_id)
        hot = await interleaved(size.calls, look(ours, few[0]), look(floor, few[1]))
    many, floor_is = f"{size.records[-1]:,} records", f"the same, {size.records[0]:,} records"
    return [
        row(f"life of a task by id, {many}", *hot, unit="ms", floor_is=floor_is, bar=_LIFE),
        row(
            f"the same at its first touch, which loads a block of 8 MB, {many}",
            *first,
            unit="ms",
            floor_is=floor_is,
        ),
    ]


async def _held_rows(size: Size, large: _Filled, small: _Filled) -> list[Row]:
    """Look tasks up all over both servers; see what they keep in memory afterwards."""
    chance = random.Random(9)
    pids = [embedded.ensure(settings).pid for settings, _ in (large, small)]
    for settings, ids in (large, small):
        async with session_of(settings, "agent-0") as session:
            for _ in range(size.reads):
                await task_life(session, chance.choice(ids))
    at_once = [memory(pid) for pid in pids]
    found, slept = [], 0.0
    for wait_s in size.settles_s:
        await asyncio.sleep(wait_s - slept)
        slept = wait_s
        ours, floor = map(memory, pids)
        found.append(
            Row(
                what=f"nats-server's memory (RSS), {size.records[-1]:,} records, {wait_s:.0f} s "
                f"after {size.reads:,} random reads",
                floor_is=f"the same, {size.records[0]:,}",
                unit="MiB",
                ours=ours,
                floor=floor,
                bar=f"<= {_HELD_MIB} MiB" if len(found) == 0 else "",
                met=ours <= _HELD_MIB if len(found) == 0 else None,
                note=f"at once {at_once[0]:.0f} and {at_once[1]:.0f}",
            )
        )
    return found


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
        row(f"list_agents, {many}", *lists, unit="ms", floor_is=floor_is, bar=_LISTED),
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
