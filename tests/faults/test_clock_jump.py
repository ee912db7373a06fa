# SPDX-License-Identifier: Apache-2.0
"""A clock that is set while a listener runs: no storm of wakes follows, and no task is lost."""

from pathlib import Path

import pytest
import pytest_asyncio
import served
from listeners import configure, listening, recorder, send, starts, steps

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import NotClaimed
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import roster, streams

_JUMPING = str(Path(served.__file__).with_name("jumping_listener.py"))
_HOUR = 3600
_STEPS = ["decided", "noted", "known", "ended", "recorded"]
_BOTH = [_HOUR, -_HOUR]
_TASKS = 5


@pytest_asyncio.fixture
async def planner():
    """A sender on a server of its own; the agent `coder` is known there."""
    with embedded.ephemeral() as settings:
        async with Bus.connect(settings) as bus, Session(bus, Agent("planner")) as session:
            await session.called()
            await streams.ensure_streams(bus)
            await roster.register(bus, Agent("coder"), None)
            yield session


def noted(listener):
    return [one for one in listener.log if one["event"] == "noted"]


@pytest.mark.promise(29)
@pytest.mark.parametrize("by", _BOTH)
@pytest.mark.parametrize("step", _STEPS)
async def test_a_jump_of_an_hour_leaves_the_limits_of_an_hour_and_a_day(
    planner, tmp_path, step, by
):
    """What was noted before a jump ahead is older than an hour then; the day's limit is left."""
    coder = {"command": recorder(tmp_path), "per_hour": 2, "per_day": 3}
    configure(planner.bus.settings, tmp_path, coder=coder)
    script = [_JUMPING, step, str(by)]
    wakes = 3 if by > 0 and step != "decided" else 2
    async with listening(planner.bus.settings, script=script) as listener:
        first = await send(planner, "coder")
        await listener.logged("jumped")
        await listener.logged("read", agent="coder")
        for number in range(1, _TASKS):
            await send(planner, "coder")
            await listener.logged("read" if number < wakes else "held", agent="coder")
        await listener.end()

    assert len(noted(listener)) == len(starts(tmp_path)) == wakes
    states = [state for state, _ in await steps(planner, first.task_id)]
    assert "claimed" in states
    async with Session(planner.bus, Agent("coder")) as reader:
        rest = (await read_inbox(reader, limit=50)).tasks
    assert len(rest) == _TASKS - wakes


@pytest.mark.promise(29)
@pytest.mark.parametrize("by", _BOTH)
@pytest.mark.parametrize("step", _STEPS)
async def test_after_a_jump_a_host_that_reads_nothing_is_still_tried_later(
    planner, tmp_path, step, by
):
    """A jump ahead right after a wake's end ends the first pause; the second one holds."""
    configure(planner.bus.settings, tmp_path, coder={"command": recorder(tmp_path, "look")})
    script = [_JUMPING, step, str(by)]
    async with listening(planner.bus.settings, script=script) as listener:
        await send(planner, "coder")
        await listener.logged("jumped")
        for _ in range(_TASKS):
            await listener.logged("held", agent="coder", reason="backoff")
            await send(planner, "coder")
        await listener.end()

    assert len(noted(listener)) == (2 if by > 0 and step in {"ended", "recorded"} else 1)
    async with Session(planner.bus, Agent("coder")) as reader:
        assert len((await read_inbox(reader, limit=50)).tasks) == _TASKS + 1


async def test_whose_clock_is_ahead_takes_no_task_from_a_session_that_lives(own_world, elapse):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    [receipt] = await send_task(planner, coder.me.id, "Count", "x")
    await read_inbox(coder)
    elapse(_HOUR)
    other = await own_world.session("coder")

    with pytest.raises(NotClaimed):
        await publish_result(other, receipt.task_id, "completed", summary="214")

    assert (await roster.look(other.bus, coder.me.id)).state == "live session"
