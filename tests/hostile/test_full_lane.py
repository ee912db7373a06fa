# SPDX-License-Identifier: Apache-2.0
"""What has fallen due and fits into no inbox keeps nobody else's back: a listener ends it, or doctor."""

import asyncio
import itertools
from types import SimpleNamespace

import pytest
import small_lanes
from local_server import until

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.doctor import strangers
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import subjects
from mcp_agentbus.store.upkeep import due

FEW = 2


@pytest.fixture
async def sessions(monkeypatch):
    """Three sessions on a bus whose lanes are soon full."""
    small_lanes.settle(monkeypatch, FEW)
    async with (
        Bus.ephemeral() as bus,
        Session(bus, Agent("planner")) as planner,
        Session(bus, Agent("mallory")) as mallory,
        Session(bus, Agent("coder")) as coder,
    ):
        for session in (planner, mallory, coder):
            await read_inbox(session)
        yield planner, mallory, coder


async def fill(mallory):
    """Have a task of mallory's fall due in a lane that is full."""
    for _ in range(FEW):
        await send_task(mallory, "mallory", "Fill", "x")
    [over] = await send_task(mallory, "mallory", "Too much", "x", deliver_in_s=1)
    return over.task_id


def kept_back(settings):
    """Wait until doctor sees that something is kept back; return its check."""
    seen = []
    until(lambda: seen.extend(asyncio.run(strangers.checks(settings))) or seen, "it is kept back")
    return seen[-1]


async def test_doctor_names_the_full_lane_and_after_its_fix_others_get_what_has_fallen_due(
    sessions,
):
    planner, mallory, coder = sessions
    over = await fill(mallory)
    [mine] = await send_task(planner, "coder", "Count", "x", deliver_in_s=2)

    check = await asyncio.to_thread(kept_back, planner.bus.settings)
    await asyncio.to_thread(check.mend.do)
    inbox = await watch_inbox(coder, timeout_s=20)
    [told] = (await watch_inbox(mallory, timeout_s=5, task_id=over)).results

    assert (check.name, check.state) == ("schedules", "wrong")
    assert "mallory to mallory cannot be put into its inbox, as its lane is full" in check.said
    assert [item.task.id for item in inbox.tasks] == [mine.task_id]
    assert (told.state, "its lane is full" in told.reason) == ("failed", True)
    assert await strangers.checks(planner.bus.settings) == []


async def test_whoever_looks_lets_go_what_no_inbox_can_take_and_nothing_that_it_can(
    sessions, monkeypatch
):
    clock = itertools.count(step=due._STANDS_S)
    monkeypatch.setattr(due, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(due, "_PAUSE_S", due._STANDS_S)
    monkeypatch.setattr(due, "_NEXT_S", 1.5 * due._STANDS_S)
    planner, mallory, coder = sessions
    bus = planner.bus
    keeper = due.Due(bus)
    over = await fill(mallory)
    # With what the server adds it has more headers than the server takes.
    large = {"X": "y" * 65_450}
    await bus.publish(subjects.due_subject("coder", "high", "mallory"), b"x", large)
    [mine] = await send_task(planner, "coder", "Count", "x", deliver_in_s=2)

    nothing = await watch_inbox(coder, timeout_s=3)
    looks = [await keeper.look() for _ in range(5)]
    inbox = await watch_inbox(coder, timeout_s=20)
    [told] = (await watch_inbox(mallory, timeout_s=5, task_id=over)).results
    later = [await keeper.look() for _ in range(3)]

    assert nothing.tasks == ()
    # The large one came first; it is told by nobody's word, as it is no task.
    # Behind what was let go it is looked after a pause, and what is first then is to stand.
    assert [look and look.why for look in looks] == [
        None, "it is larger than the server takes", None, None, "its lane is full",
    ]  # fmt: skip
    assert [item.task.id for item in inbox.tasks] == [mine.task_id]
    assert (told.state, "its lane is full" in told.reason) == ("failed", True)
    assert later == [None, None, None]
