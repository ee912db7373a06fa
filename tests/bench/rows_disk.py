# SPDX-License-Identifier: Apache-2.0
"""The rows of sends where a sync of the server's disk takes 0, 5 and 15 ms more, by injection.

    >>> [row.what for row in await rows(Size())][0]
    'send_task through a stdio client, syncs + 0 ms'

A receipt waits for one store, and the floor is one. What traces the server slows all that it does:
the rows of 0 ms say by how much, and only those of 15 ms hold a bar.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

from filling import raw_client
from measure import Bar, Row, Side, Size, interleaved, missing, row, timed
from rows_bus import make_raw_stream, publish_raw, rate_of, session_of
from rows_calls import planner_client, timed_call
from slow_disk import CannotSlow, slowed

from mcp_agentbus.bus import embedded
from mcp_agentbus.handoff.send import send_task

SYNCS_MS = (0, 5, 15)
# A row of 15 ms takes that much for each store.
_SHARE = 5
_FLOOR = "js.publish of nats-py"
# What is measured, in which unit, and the bar where syncs take longest.
_ROWS = (
    ("send_task through a stdio client", "ms", Bar(1.15)),
    ("in-order sends per second, Python API", "/s", Bar(0.85, at_least=True)),
)


async def rows(size: Size) -> list[Row]:
    """Measure all of them, on one server."""
    burst = max(1, size.burst // _SHARE)
    async with AsyncExitStack() as stack:
        settings, client = await stack.enter_async_context(planner_client())
        session = await stack.enter_async_context(session_of(settings, "tester", "coder"))
        await make_raw_stream(session.bus)
        stream = (await stack.enter_async_context(raw_client(settings))).jetstream()
        pid, found = embedded.ensure(settings).pid, list[Row]()

        async def floor() -> None:
            await publish_raw(stream, size.body)

        async def in_order() -> None:
            await send_task(session, "coder", "One of many", size.body)

        async def send() -> float:
            return await timed_call(client, "send_task", to="coder", subject="x", body=size.body)

        sends: tuple[int, Side, Side] = (size.calls // _SHARE, send, lambda: timed(floor()))
        rates: tuple[int, Side, Side] = (
            size.rounds,
            lambda: rate_of(burst, in_order),
            lambda: rate_of(burst, floor),
        )
        for sync_ms in SYNCS_MS:
            try:
                with slowed(pid, sync_ms):
                    found += await _rows_at(sync_ms, sends, rates)
            except CannotSlow as error:
                found += [
                    missing(_at(what, sync_ms), _FLOOR, _bar(bar, sync_ms), str(error))
                    for what, _, bar in _ROWS
                ]
        return found


async def _rows_at(sync_ms: int, *measured: tuple[int, Side, Side]) -> list[Row]:
    return [
        row(
            _at(what, sync_ms),
            *await interleaved(max(1, rounds), ours, floor),
            unit=unit,
            floor_is=_FLOOR,
            bar=_bar(bar, sync_ms),
        )
        for (what, unit, bar), (rounds, ours, floor) in zip(_ROWS, measured, strict=True)
    ]


def _at(what: str, sync_ms: int) -> str:
    return f"{what}, syncs + {sync_ms} ms"


def _bar(bar: Bar, sync_ms: int) -> Bar | None:
    return bar if sync_ms == SYNCS_MS[-1] else None
