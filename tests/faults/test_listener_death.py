# SPDX-License-Identifier: Apache-2.0
"""A listener killed at any point between its decision and its record, and a server that goes."""

import asyncio
from pathlib import Path

import pytest
import served
from listeners import configure, listening, recorder, starts
from local_server import kill_servers

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.relay import local_socket
from mcp_agentbus.store import roster, streams, subjects

_DYING = str(Path(served.__file__).with_name("dying_listener.py"))


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


@pytest.mark.promise(20)
@pytest.mark.parametrize("step", ["decided", "noted", "started", "known", "ended", "recorded"])
async def test_killed_at_any_step_it_starts_the_host_twice_at_most(house, notes, step):
    agent = f"killed-{step}"
    configure(house, notes, **{agent: {"command": recorder(notes)}})
    claimed = asyncio.Event()
    async with Bus.connect(house) as bus, Session(bus, Agent("planner")) as planner:
        await planner.called()
        await streams.ensure_streams(bus)
        await roster.register(bus, Agent(agent), None)
        subject = subjects.record_subject("planner", agent, "*")
        async with bus.subscribed(subject, lambda _: claimed.set()):
            async with listening(house, script=[_DYING, step]) as dying:
                await send_task(planner, agent, "Count", "the tests", priority="high")
                assert await dying.process.wait() == -9
            async with listening(house) as listener, asyncio.timeout(60):
                await claimed.wait()
                await listener.end()

    started = starts(notes)
    assert 1 <= len(started) <= 2
    assert [one for one in started if one["stdin"]]


async def test_an_end_that_a_killed_listener_kept_to_itself_is_told_by_the_next(house, notes):
    agent = "killed-mute"
    configure(house, notes, **{agent: {"command": recorder(notes)}})
    told = asyncio.Event()
    async with Bus.connect(house) as bus, Session(bus, Agent("planner")) as planner:
        await planner.called()
        await streams.ensure_streams(bus)
        await roster.register(bus, Agent(agent), None)
        async with listening(house, script=[_DYING, "recorded"]) as dying:
            [receipt] = await send_task(planner, agent, "Count", "the tests", priority="high")
            assert await dying.process.wait() == -9
        before = [one.state for one in (await task_life(planner, receipt.task_id)).wakes]
        subject = subjects.wakes_subject("planner", agent, receipt.task_id)
        async with (
            bus.subscribed(subject, lambda _: told.set()),
            listening(house) as listener,
            asyncio.timeout(60),
        ):
            await told.wait()
            await listener.end()
        after = (await task_life(planner, receipt.task_id)).wakes

    assert before == ["waking"]
    assert [(one.state, one.reason[:12]) for one in after[1:]] == [("woken", "exit code 0 ")]


@pytest.mark.promise(28)
async def test_a_server_that_went_and_came_back_elsewhere_is_found_again(notes):
    with embedded.ephemeral() as settings:
        configure(settings, notes, coder={"command": recorder(notes)})
        async with listening(settings) as listener:
            await asyncio.to_thread(embedded.stop, settings)
            embedded.Files(settings.data_dir).port.unlink()
            await asyncio.to_thread(embedded.ensure, settings)
            async with Bus.connect(settings) as bus, Session(bus, Agent("planner")) as planner:
                await planner.called()
                await roster.register(bus, Agent("coder"), None)
                await send_task(planner, "coder", "Count", "the tests", priority="high")
                await listener.logged("read", agent="coder")

    assert len(starts(notes)) == 1


async def test_what_waits_behind_a_crash_of_server_and_listener_is_woken_though_nobody_types(notes):
    """As after a reboot, where a service manager starts the listener alone."""
    with embedded.ephemeral() as settings:
        configure(settings, notes, coder={"command": recorder(notes)})
        async with Bus.connect(settings) as bus, Session(bus, Agent("planner")) as planner:
            await planner.called()
            await roster.register(bus, Agent("coder"), None)
            await send_task(planner, "coder", "Count", "the tests", priority="high")
        kill_servers(settings)
        async with listening(settings) as listener:
            await listener.logged("read", agent="coder")

    assert len(starts(notes)) == 1


async def test_without_a_bus_its_status_says_so_and_gives_no_counts(notes):
    with embedded.ephemeral() as settings:
        configure(settings, notes, coder={"command": recorder(notes)})
        async with listening(settings) as listener:
            await asyncio.to_thread(embedded.ensure, settings)
            await listener.logged("ready", agent="coder")
            await asyncio.to_thread(embedded.stop, settings)
            away = await asyncio.to_thread(local_socket.ask, settings, {"op": "status"})
            await asyncio.to_thread(embedded.ensure, settings)
            await listener.logged("back")
            back = await asyncio.to_thread(local_socket.ask, settings, {"op": "status"})

    assert (away["bus"], away["agents"][0]["waiting"]) == ("away", None)
    assert (back["bus"], back["agents"][0]["waiting"]["high"]) == ("ok", 0)
