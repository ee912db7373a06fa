# SPDX-License-Identifier: Apache-2.0
"""A host that hangs, or leaves something behind: ended in time, and in nobody's way meanwhile."""

import asyncio
import os
import sys

import pytest
import pytest_asyncio
from listeners import configure, listening, recorder, send, starts, steps

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.relay import local_socket
from mcp_agentbus.store import roster, streams, subjects

# Each waits until somebody reads the fifo `here`, and then until `go` is written to and closed.
_HANGING = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open("here", "w").write("here")
open("go").read()
"""
_FORKING = """
import os
told, tell = os.pipe()
if os.fork() == 0:
    os.setsid()
    os.write(tell, b"!")
    open("here", "w").write("here")
    open("go").read()
else:
    os.read(told, 1)  # else it would be killed with the group that it was still in
"""


@pytest_asyncio.fixture
async def planner():
    """A sender on a server of its own; its `brisk` and `slow` are known there."""
    with embedded.ephemeral() as settings:
        async with Bus.connect(settings) as bus, Session(bus, Agent("planner")) as session:
            await session.called()
            await streams.ensure_streams(bus)
            for agent in ("slow", "brisk"):
                await roster.register(bus, Agent(agent), None)
            yield session


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    for name in ("here", "go"):
        os.mkfifo(folder / name)
    return folder


async def told(planner, task_id, said):
    """Wait until a task's life holds a step of a wake that says so."""
    stirred = asyncio.Event()
    subject = subjects.wakes_subject("planner", "*", task_id)
    async with planner.bus.subscribed(subject, lambda _: stirred.set()), asyncio.timeout(60):
        while not any(reason.startswith(said) for _, reason in await steps(planner, task_id)):
            await stirred.wait()
            stirred.clear()


async def here(notes):
    """Wait until the program runs; no thread is left behind if it never does."""
    wrote = asyncio.Event()
    descriptor = os.open(notes / "here", os.O_RDWR | os.O_NONBLOCK)
    asyncio.get_running_loop().add_reader(descriptor, wrote.set)
    try:
        async with asyncio.timeout(60):
            await wrote.wait()
        assert os.read(descriptor, 10) == b"here"
    finally:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)


async def still_looks_after_others(planner, listener):
    """See that the listener answers, and that it wakes another agent meanwhile."""
    found = await asyncio.to_thread(local_socket.ask, planner.bus.settings, {"op": "status"})
    standing = {one["agent"]: one for one in found["agents"]}
    await send(planner, "brisk")
    await listener.logged("read", agent="brisk")
    return standing["slow"]


async def waiting(planner, agent):
    async with Session(planner.bus, Agent(agent)) as reader:
        return [one.task.id for one in (await read_inbox(reader)).tasks]


def agents(notes, code, **limits):
    (notes / "host.py").write_text(code)
    slow = {"command": [sys.executable, "-S", str(notes / "host.py")], **limits}
    return {"slow": slow, "brisk": {"command": recorder(notes)}}


@pytest.mark.promise(25)
async def test_a_host_that_hangs_is_in_nobodys_way(planner, notes):
    settings = planner.bus.settings
    configure(settings, notes, **agents(notes, _HANGING))
    async with listening(settings) as listener:
        task_id = (await send(planner, "slow")).task_id
        await here(notes)
        standing = await still_looks_after_others(planner, listener)
        assert standing["waking"]
        assert await waiting(planner, "slow") == [task_id]
        assert "ended" not in {one["event"] for one in listener.log if one.get("agent") == "slow"}
        (notes / "go").write_text("")
        await listener.logged("ended", agent="slow", outcome="exited")

    assert len(starts(notes)) == 1


@pytest.mark.promise(25)
async def test_a_host_that_ignores_sigterm_is_killed_at_its_time_limit(planner, notes):
    settings = planner.bus.settings
    configure(settings, notes, **agents(notes, _HANGING, time_limit_s=2))
    async with listening(settings) as listener:
        task_id = (await send(planner, "slow")).task_id
        pid = (await listener.logged("known", agent="slow"))["pid"]
        await still_looks_after_others(planner, listener)
        await listener.logged("ended", agent="slow", outcome="timed_out")
        await listener.logged("held", agent="slow", reason="backoff")
        await told(planner, task_id, "ended at its time limit after ")

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert "wake-held" in [state for state, _ in await steps(planner, task_id)]
    assert await waiting(planner, "slow") == [task_id]


@pytest.mark.promise(25)
async def test_what_a_host_left_behind_with_its_output_open_delays_nothing(planner, notes):
    settings = planner.bus.settings
    configure(settings, notes, **agents(notes, _FORKING))
    async with listening(settings) as listener:
        task_id = (await send(planner, "slow")).task_id
        try:
            await here(notes)
            await still_looks_after_others(planner, listener)
            await told(planner, task_id, "exit code 0 after ")
            assert await waiting(planner, "slow") == [task_id]
        finally:
            # A reader is there for as long as the one that was left behind lives.
            descriptor = os.open(notes / "go", os.O_WRONLY | os.O_NONBLOCK)
            os.close(descriptor)
