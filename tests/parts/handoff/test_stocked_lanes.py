# SPDX-License-Identifier: Apache-2.0
"""A reading asks the lanes that have something: each way to a server far away takes its time."""

from __future__ import annotations

import pytest

from mcp_agentbus.errors import NotAllowed
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import queues
from mcp_agentbus.store.subjects import TASKS


@pytest.fixture
def pulled(world, monkeypatch):
    """The lanes that were asked for tasks, by the last word of their names."""
    pull, lanes = world.bus.pull, []

    async def noted(stream, consumer, batch, **how):
        if stream == TASKS:
            lanes.append(consumer.rpartition("_")[2])
        return await pull(stream, consumer, batch, **how)

    monkeypatch.setattr(world.bus, "pull", noted)
    return lanes


@pytest.mark.parametrize("read", [read_inbox, lambda coder: watch_inbox(coder, timeout_s=0)])
async def test_of_an_empty_inbox_no_lane_is_asked(world, pulled, read):
    coder = await world.session("coder")

    assert (await read(coder)).empty
    assert pulled == []


async def test_the_lane_with_a_task_is_asked_alone(world, pulled):
    planner, coder = await world.session("planner"), await world.session("coder")
    await send_task(planner, coder.me.id, "1", "x", priority="low")
    inbox = await read_inbox(coder)

    assert ([item.task.subject for item in inbox.tasks], inbox.waiting) == (["1"], {})
    assert set(pulled) == {"low"}


async def test_what_waits_for_a_role_is_found_beside_an_empty_inbox(world):
    planner = await world.session("planner")
    coder = await world.session("coder", roles=("review",))
    await send_task(planner, "role:review", "1", "x")

    assert [item.task.subject for item in (await read_inbox(coder)).tasks] == ["1"]


async def test_where_nobody_may_say_what_is_stored_each_lane_is_asked(world, pulled, monkeypatch):
    planner, coder = await world.session("planner"), await world.session("coder")
    await send_task(planner, coder.me.id, "1", "x")

    async def refused(*_):
        raise NotAllowed

    monkeypatch.setattr(queues, "stored_tasks", refused)
    assert [item.task.subject for item in (await read_inbox(coder)).tasks] == ["1"]
    assert set(pulled) == {"high", "normal", "low"}
