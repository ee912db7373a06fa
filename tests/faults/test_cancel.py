# SPDX-License-Identifier: Apache-2.0
"""A cancelled call leaves no trace, wherever it was: what it had taken is given back at once."""

import asyncio

import anyio
import pytest
import pytest_asyncio

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.connection import Link
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import subjects

HANG_S = 30  # only a hang takes as long


class Stops:
    """Stops the calls of a bus's methods, before or after their work, until they may go on."""

    def __init__(self, bus, monkeypatch):
        self._bus, self._patch = bus, monkeypatch
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()

    def at(self, method, when, about=""):
        """Stop at calls of `method` that have `about` in an argument."""
        original = getattr(self._bus, method)

        async def stopped(*given, **named):
            matches = about in repr(given)
            if matches and when == "before":
                await self._stop()
            outcome = await original(*given, **named)
            if matches and when == "after":
                await self._stop()
            return outcome

        self._patch.setattr(self._bus, method, stopped)

    async def _stop(self):
        self.reached.set()
        await self.go_on.wait()


@pytest_asyncio.fixture
async def pair(world):
    """A sender, and two sessions of one agent, each on a connection of its own."""
    planner, coder = await world.session("planner"), await world.session("coder")
    async with Session(await world.another_bus(), Agent(coder.me.id)) as other:
        await other.called()
        await other.can_read()
        yield planner, coder, other


async def cancel_at(stops, call):
    """Start the call, cancel it where it is stopped, let what runs on run on."""
    running = asyncio.create_task(call)
    async with asyncio.timeout(HANG_S):
        await stops.reached.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    stops.go_on.set()


async def cancel_at_by_anyio(stops, call):
    """The same as the MCP server does it: by a scope around the call."""
    with anyio.fail_after(HANG_S):
        async with anyio.create_task_group() as group:

            async def run():
                with anyio.CancelScope() as scope:
                    scopes.append(scope)
                    await call

            scopes = []
            group.start_soon(run)
            await stops.reached.wait()
            scopes[0].cancel()
    assert scopes[0].cancelled_caught
    stops.go_on.set()


# Where a call is when it is cancelled: the method of the bus, before or after it did its work.
POINTS = [
    ("api", "before", "STREAM.INFO"),
    ("api", "after", "STREAM.INFO"),
    ("pull", "before", "_normal"),
    ("pull", "after", "_normal"),
    ("last", "before", ".results."),
    ("last", "after", ".results."),
    ("replace", "before", ".results."),
    ("replace", "after", ".results."),
    ("pull", "before", "_results"),
    ("pull", "after", "_results"),
    ("api", "before", "CONSUMER.INFO"),
    ("api", "after", "CONSUMER.INFO"),
]


@pytest.mark.promise(11)
@pytest.mark.parametrize("cancel", [cancel_at, cancel_at_by_anyio])
@pytest.mark.parametrize("call", [read_inbox, watch_inbox])
@pytest.mark.parametrize("point", POINTS, ids=" ".join)
async def test_tasks_of_a_cancelled_call_are_readable_at_once_by_another_session(
    pair, monkeypatch, point, call, cancel
):
    planner, coder, other = pair
    sent = [(await send_task(planner, coder.me.id, f"{n}", "x"))[0].task_id for n in range(3)]
    if point[0] == "last":  # only of a task that was offered before is there a record to look for
        for one in await other.bus.pull(
            subjects.TASKS, subjects.lane_consumer(coder.me.id, "normal"), 3
        ):
            await other.bus.give_back(one)
    with monkeypatch.context() as patch:
        stops = Stops(coder.bus, patch)
        stops.at(*point)
        # With exactly so many, the server is asked how many more there are.
        await cancel(stops, call(coder, limit=len(sent)))

    read = {}
    async with asyncio.timeout(HANG_S):
        while len(read) < len(sent):
            for item in (await watch_inbox(other, timeout_s=HANG_S)).tasks:
                read[item.task.id] = item.attempt

    assert read == dict.fromkeys(sent, 1)
    assert coder.claims == {}


@pytest.mark.promise(11)
@pytest.mark.promise(34)
@pytest.mark.parametrize(
    ("point", "options"),
    [
        (("pull", "after", "_results"), {}),
        (("last", "after", ".sent."), {}),
        (("many", "after", ".sent."), {"peek": True}),
        (("api", "after", "CONSUMER.INFO"), {"peek": True}),
    ],
)
async def test_results_of_a_cancelled_call_are_shown_again(pair, monkeypatch, point, options):
    planner, coder, _ = pair
    [sent] = await send_task(planner, coder.me.id, "Do it", "x")
    await read_inbox(coder)
    await publish_result(coder, sent.task_id, "completed")
    with monkeypatch.context() as patch:
        stops = Stops(planner.bus, patch)
        stops.at(*point)
        await cancel_at(stops, read_inbox(planner, **options))

    [result] = (await watch_inbox(planner, timeout_s=HANG_S)).results

    assert result.task_id == sent.task_id
    assert (await read_inbox(planner)).results == ()


@pytest.mark.promise(11)
async def test_the_same_session_is_never_shown_a_task_that_is_about_to_be_given_back(
    pair, monkeypatch
):
    planner, coder, _ = pair
    [sent] = await send_task(planner, coder.me.id, "Do it", "x")
    with monkeypatch.context() as patch:
        stops = Stops(coder.bus, patch)
        stops.at("api", "after", "CONSUMER.INFO")
        cancelled = asyncio.create_task(watch_inbox(coder, limit=1))
        await stops.reached.wait()
        cancelled.cancel()
        next_call = asyncio.create_task(watch_inbox(coder, timeout_s=HANG_S))
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        stops.go_on.set()
        [item] = (await next_call).tasks

    assert (item.task.id, item.attempt) == (sent.task_id, 1)
    assert (await publish_result(coder, sent.task_id, "completed")).state == "completed"


@pytest.mark.promise(11)
async def test_a_call_cancelled_while_another_is_at_work_leaves_no_trace(pair, monkeypatch):
    planner, coder, _ = pair
    with monkeypatch.context() as patch:
        stops = Stops(coder.bus, patch)
        stops.at("api", "before", "STREAM.INFO")
        first = asyncio.create_task(watch_inbox(coder, timeout_s=0))
        await stops.reached.wait()
        waits = asyncio.create_task(watch_inbox(coder, timeout_s=0))
        reads = asyncio.create_task(read_inbox(coder))
        await asyncio.wait([waits, reads], timeout=0)
        for one in (waits, reads):
            one.cancel()
            with pytest.raises(asyncio.CancelledError):
                await one
        stops.go_on.set()
        assert (await first).empty

    [sent] = await send_task(planner, coder.me.id, "Do it", "x")
    [item] = (await watch_inbox(coder, timeout_s=HANG_S)).tasks
    assert item.task.id == sent.task_id


@pytest.mark.promise(11)
async def test_cancelling_a_watch_a_hundred_times_loses_nothing_and_counts_no_attempt(pair):
    """At a hundred moments, from before the first step of the call to after its end."""
    planner, coder, other = pair
    sent = [(await send_task(planner, coder.me.id, f"{n}", "x"))[0].task_id for n in range(3)]

    shown = []
    for steps in range(100):
        watch = asyncio.create_task(watch_inbox(coder, timeout_s=0))
        for _ in range(steps):
            await asyncio.wait([watch], timeout=0)
        watch.cancel()
        try:
            shown = (await watch).tasks
        except asyncio.CancelledError:
            continue
        break

    # Tasks of the last one, if it came to its end, were shown and stay claimed.
    for item in shown:
        assert item.attempt == 1
        await publish_result(coder, item.task.id, "completed")
    read = {item.task.id: item.attempt for item in shown}
    async with asyncio.timeout(HANG_S):
        while len(read) < len(sent):
            for item in (await watch_inbox(other, timeout_s=HANG_S)).tasks:
                read[item.task.id] = item.attempt
    assert read == dict.fromkeys(sent, 1)


@pytest.mark.promise(11)
async def test_a_first_call_cancelled_while_it_connects_leaves_nothing_open(world, monkeypatch):
    planner = await world.session("planner")
    async with Bus(world.bus.settings) as bus, Session(bus, Agent(world.name("coder"))) as coder:
        reached, go_on = asyncio.Event(), asyncio.Event()
        flush = Link.flush

        async def stopped(link, timeout):
            reached.set()
            await go_on.wait()
            await flush(link, timeout)

        with monkeypatch.context() as patch:
            patch.setattr(Link, "flush", stopped)
            call = asyncio.create_task(watch_inbox(coder, timeout_s=0))
            async with asyncio.timeout(HANG_S):
                await reached.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        go_on.set()

        assert (await read_inbox(coder)).empty
        [sent] = await send_task(planner, coder.me.id, "Do it", "x")
        [item] = (await watch_inbox(coder, timeout_s=HANG_S)).tasks
        assert item.task.id == sent.task_id


async def test_a_cancel_that_comes_with_the_servers_answer_is_not_lost(home):
    async with Bus.connect(home) as bus:
        await bus.api("INFO")
        client, ping = bus._link._client, bus._link._client._send_ping

        async def cancelled_with_the_answer(pong):
            pong.add_done_callback(lambda _: flushing.cancel())
            await ping(pong)

        client._send_ping = cancelled_with_the_answer
        flushing = asyncio.ensure_future(bus._link.flush())
        with pytest.raises(asyncio.CancelledError):
            await flushing


async def test_a_cancel_before_the_servers_answer_leaves_the_connection_whole(home):
    async with Bus.connect(home) as bus:
        await bus.api("INFO")
        link, client = bus._link, bus._link._client
        ping = client._send_ping

        async def cancelled_before_the_answer(pong):
            flushing.cancel()
            await ping(pong)

        client._send_ping = cancelled_before_the_answer
        flushing = asyncio.ensure_future(link.flush())
        with pytest.raises(asyncio.CancelledError):
            await flushing
        client._send_ping = ping

        await link.flush()
        await bus.api("INFO")
        assert bus._link is link
