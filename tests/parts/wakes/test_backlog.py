# SPDX-License-Identifier: Apache-2.0
"""What is new to a session of the tasks that wake nobody, by what is stored and who holds it."""

from __future__ import annotations

import pytest

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import queues as lanes
from mcp_agentbus.store import roster, streams, subjects
from mcp_agentbus.wakes import backlog


class Waiting:
    """An agent for which so many tasks are stored."""

    def __init__(self, world):
        self.world = world
        self.agent = world.name("coder")
        self.ids = []

    async def store(self, count, **options):
        """Send it tasks, the first one first."""
        await streams.ensure_streams(self.world.bus)
        await roster.register(self.world.bus, Agent(self.agent), None)
        self.planner = await self.world.session("planner")
        for number in range(count):
            [receipt] = await send_task(self.planner, self.agent, f"{number}", "x", **options)
            self.ids.append(receipt.task_id)
        subject = subjects.task_subject(self.agent, "normal", "*")
        pages = self.world.bus.stored(subjects.TASKS, subject)
        self.seqs = [message.seq async for page in pages for message in page]

    async def lane(self, told=0):
        """Return the normal lane as a session sees it that was told of so many."""
        stored = await backlog.stored(self.world.bus, (self.agent,))
        mark = self.seqs[told - 1] if told else 0
        me, rest = Agent(self.agent), ("normal", "low")
        lanes = await backlog.unseen(self.world.bus, me, stored, lambda *_: mark, rest)
        assert len(lanes) < 2
        return lanes[0] if lanes else None


@pytest.fixture
def waiting(world):
    return Waiting(world)


@pytest.mark.parametrize(("told", "new"), [(3, 1), (2, 2), (1, 2), (0, 2)])
async def test_new_is_what_came_after_what_was_told(waiting, told, new):
    await waiting.store(4)
    coder = await waiting.world.session("coder")
    await read_inbox(coder, limit=2)

    lane = await waiting.lane(told)

    assert (lane.name, lane.last) == (f"{waiting.agent}_normal", waiting.seqs[-1])
    assert lane.new == new


@pytest.mark.parametrize(("told", "new"), [(20, 40), (10, 60), (0, 60)])
async def test_where_too_many_are_new_to_be_counted_all_that_wait_are(waiting, told, new):
    await waiting.store(60)

    assert (await waiting.lane(told)).new == new


async def test_a_lane_that_nobody_has_read_yet_waits_as_a_whole(waiting):
    await waiting.store(2)

    assert (await waiting.lane()).new == 2


@pytest.mark.parametrize("how", ["none", "held", "cancelled", "expired"])
async def test_a_lane_in_which_nothing_waits_is_none(waiting, elapse, how):
    await waiting.store(0 if how == "none" else 2, expires_in_s=60)
    if how == "held":
        await read_inbox(await waiting.world.session("coder"))
    if how == "cancelled":
        for task_id in waiting.ids:
            await publish_result(waiting.planner, task_id, "cancelled")
    if how == "expired":
        elapse(60)

    assert await waiting.lane() is None


async def test_a_task_that_was_given_back_waits_and_is_new_to_who_was_not_told(waiting):
    await waiting.store(2)
    coder = await waiting.world.session("coder")
    await read_inbox(coder)

    await publish_result(coder, waiting.ids[0], "released")

    assert ((await waiting.lane()).new, (await waiting.lane()).last) == (1, waiting.seqs[0])
    assert (await waiting.lane(told=1)).new == 0


async def test_of_many_what_was_given_back_waits_as_well(waiting, monkeypatch):
    monkeypatch.setattr(lanes, "LOOKED_AT_MAX", 2)
    await waiting.store(4)
    coder = await waiting.world.session("coder")
    await read_inbox(coder, limit=3)
    assert (await waiting.lane()).new == 1

    await coder.close()

    assert ((await waiting.lane()).new, (await waiting.lane()).last) == (4, waiting.seqs[-1])
    assert (await waiting.lane(told=4)).new == 4


async def test_of_many_that_are_held_one_that_was_given_back_is_new_to_who_was_not_told(
    waiting, monkeypatch
):
    monkeypatch.setattr(lanes, "LOOKED_AT_MAX", 2)
    await waiting.store(4)
    coder = await waiting.world.session("coder")
    await read_inbox(coder, limit=4)

    await publish_result(coder, waiting.ids[0], "released")

    assert ((await waiting.lane()).new, (await waiting.lane()).last) == (1, waiting.seqs[0])
    assert (await waiting.lane(told=2)).new == 0
