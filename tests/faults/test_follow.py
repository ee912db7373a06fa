# SPDX-License-Identifier: Apache-2.0
"""`agentbus watch --follow`: each step once, whatever goes and comes back meanwhile."""

import asyncio
import contextlib
import json
import subprocess
from datetime import UTC, datetime, timedelta

import forking
import pytest
import served
from listeners import known, listening
from local_server import kill_servers

from mcp_agentbus.bus import embedded
from mcp_agentbus.cli.parser import parser
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.core.text import moment
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import subjects
from mcp_agentbus.tools.follow import Position, follow

_HANG_S = 60  # only a hang takes as long


class Events:
    """The events of an agent, as they come."""

    def __init__(self, bus, agent, since=None):
        self._events = follow(bus, agent, since)
        self.position = None

    async def next(self):
        """Return the next event's data, with `waiting` or with task and state."""
        async with asyncio.timeout(_HANG_S):
            event = await anext(self._events)
        self.position = event.position or self.position
        return event.data.get("waiting") or (event.data["task_id"], event.data["state"])

    async def steps(self, count):
        """Return so many steps of tasks."""
        steps = []
        while len(steps) < count:
            event = await self.next()
            steps += [event] if isinstance(event, tuple) else []
        return steps

    async def close(self):
        await self._events.aclose()


@contextlib.asynccontextmanager
async def followed(bus, agent, since=None):
    events = Events(bus, agent, since)
    try:
        yield events
    finally:
        await events.close()


async def send(planner, coder, subject="Count"):
    [receipt] = await send_task(planner, coder.me.id, subject, "x")
    return receipt.task_id


async def do(coder, task_id, *states):
    """Claim a task and report on it."""
    await read_inbox(coder, limit=50)
    for state in states:
        await publish_result(coder, task_id, state)


async def test_it_begins_with_the_results_that_nobody_has_seen_yet(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    seen, unseen = await send(planner, coder), await send(planner, coder)
    await do(coder, seen, "completed")
    await read_inbox(planner)
    await read_inbox(planner)
    await do(coder, unseen, "working", "failed")

    async with followed(world.bus, planner.me) as events:
        assert await events.next() == {"high": 0, "normal": 0, "low": 0}
        assert await events.next() == (unseen, "failed")
        later = await send(planner, coder)
        await do(coder, later)
        assert await events.steps(1) == [(later, "claimed")]

    assert [record.task_id for record in (await read_inbox(planner)).results] == [unseen]


async def test_what_was_written_while_it_was_cut_off_is_told_step_by_step(proxied):
    _, proxy, planner, coder = proxied
    first, second = await send(planner, coder, "1"), await send(planner, coder, "2")
    await do(coder, first, "working")
    async with followed(planner.bus, planner.me) as events:
        await events.next()
        await publish_result(coder, first, "working", progress=50)
        assert await events.steps(1) == [(first, "working")]
        proxy.refuse()
        await publish_result(coder, first, "needs_approval", summary="May I?")
        await publish_result(coder, first, "completed")
        await publish_result(coder, second, "rejected")
        proxy.accept()

        assert await events.steps(3) == [
            (first, "needs_approval"), (first, "completed"), (second, "rejected")
        ]  # fmt: skip


async def test_no_step_is_lost_or_doubled_over_kills_of_the_server(own_world):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    settings, tasks = own_world.bus.settings, []
    async with followed(await own_world.another_bus(), planner.me) as events:
        await events.next()
        for number in range(3):
            tasks.append(await send(planner, coder, str(number)))
            await do(coder, tasks[-1], "working")
            await asyncio.to_thread(kill_servers, settings)
            embedded.ensure(settings)
            await do(coder, tasks[-1], "completed")
        steps = await events.steps(9)

    states = ("claimed", "working", "completed")
    assert steps == [(task_id, state) for task_id in tasks for state in states]


async def test_streams_that_were_made_anew_are_followed_from_their_beginning(own_world):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    bus = await own_world.another_bus()
    async with followed(bus, planner.me) as events:
        await events.next()
        await do(coder, await send(planner, coder))
        await events.steps(1)
        for stream in (subjects.TASKS, subjects.RESULTS):
            await bus.api(f"STREAM.DELETE.{stream}")
        sender = Session(await own_world.another_bus(), planner.me)
        worker = Session(await own_world.another_bus(), Agent(own_world.name("tester")))
        await worker.called()
        await worker.can_read()
        task_id = await send(sender, worker)
        await do(worker, task_id, "completed")

        assert await events.steps(1) in ([(task_id, "claimed")], [(task_id, "completed")])
        await sender.close()
        await worker.close()


async def test_it_begins_where_it_is_told_to_with_nothing_twice(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    before = await send(planner, coder)
    await do(coder, before)
    since = datetime.now(UTC)
    task_id = await send(planner, coder)
    await do(coder, task_id, "completed")

    async with followed(world.bus, planner.me, Position(since)) as events:
        steps = await events.steps(2)
        position = events.position
    await publish_result(coder, before, "completed")
    async with followed(world.bus, planner.me, Position.read(str(position), position.at)) as events:
        further = await events.steps(1)

    assert steps == [(task_id, "claimed"), (task_id, "completed")]
    assert further == [(before, "completed")]


async def test_another_process_goes_on_when_the_listener_ends_and_doubles_no_step(planner):
    settings = planner.bus.settings
    await known(planner, "coder")
    coder = Session(planner.bus, Agent("coder"))
    first, second = await send(planner, coder, "1"), await send(planner, coder, "2")
    async with asyncio.timeout(_HANG_S), listening(settings) as listener:
        process = await forking.Awaited.started(
            [*served.AGENTBUS, "watch", "--follow", "--json", "--agent", "planner"],
            env=served.environ(settings.data_dir.parent), stdout=subprocess.PIPE,
        )  # fmt: skip

        async def step():
            while True:
                event = json.loads(await process.stdout.readline())
                if event["event"] == "task":
                    return event["task_id"], event["state"]

        await process.stdout.readline()
        await coder.called()
        await coder.can_read()
        await do(coder, first, "completed")
        told = {await step() for _ in range(3)}
        await listener.end()
        await publish_result(coder, second, "failed")
        assert await step() == (second, "failed")
        process.terminate()
        await process.rest()
        await coder.close()

    assert told == {(first, "claimed"), (first, "completed"), (second, "claimed")}


@pytest.mark.parametrize(
    ("typed", "ago"),
    [("90s", timedelta(seconds=90)), ("15m", timedelta(minutes=15)), ("2h", timedelta(hours=2)),
     ("3d", timedelta(days=3)), ("0s", timedelta())],
)  # fmt: skip
def test_how_long_ago_is_a_time_to_begin_with(typed, ago):
    """By whichever clock is asked."""
    noon = datetime(2026, 5, 18, 12, tzinfo=UTC)

    assert moment(parser().parse_args(["watch", "--since", typed]).since, noon) == noon - ago


@pytest.mark.parametrize(
    "typed", ["2026-05-18T18:00Z", "2026-05-18 18:00:00Z", "2026-05-18T20:00+02:00"]
)
def test_a_time_is_read_as_it_is_printed_here_or_elsewhere(typed):
    since = datetime.fromisoformat(parser().parse_args(["watch", "--since", typed]).since)

    assert since == datetime(2026, 5, 18, 18, tzinfo=UTC)


@pytest.mark.parametrize("typed", ["", "h", "-2h", "2x", "tomorrow", "9999-01-01", "99999999999d"])
def test_what_is_no_time_that_has_passed_is_wrong_usage(typed, capsys):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(["watch", f"--since={typed}"])

    assert ended.value.code == 2
    assert "15m" in capsys.readouterr().err
