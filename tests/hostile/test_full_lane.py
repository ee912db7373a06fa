# SPDX-License-Identifier: Apache-2.0
"""A full lane keeps back what falls due of everybody's: doctor names it, and lets the others go."""

import asyncio

from local_server import until

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.doctor import strangers
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import streams, subjects

FEW = 2


def stalled(settings):
    """Wait until doctor sees that something is kept back; return its check."""
    seen = []
    until(lambda: seen.extend(asyncio.run(strangers.checks(settings))) or seen, "it is kept back")
    return seen[-1]


async def test_doctor_names_the_full_lane_and_after_its_fix_others_get_what_has_fallen_due(
    monkeypatch,
):
    fewer = [
        {**each, "max_msgs_per_subject": FEW} if each["name"] == subjects.TASKS else each
        for each in streams._STREAMS
    ]
    monkeypatch.setattr(streams, "_STREAMS", tuple(fewer))
    async with (
        Bus.ephemeral() as bus,
        Session(bus, Agent("planner")) as planner,
        Session(bus, Agent("mallory")) as mallory,
        Session(bus, Agent("coder")) as coder,
    ):
        for session in (planner, mallory, coder):
            await read_inbox(session)
        for _ in range(FEW):
            await send_task(mallory, "mallory", "Fill", "x")
        await send_task(mallory, "mallory", "Too much", "x", deliver_in_s=1)
        [mine] = await send_task(planner, "coder", "Count", "x", deliver_in_s=2)

        check = await asyncio.to_thread(stalled, bus.settings)
        await asyncio.to_thread(check.mend.do)
        inbox = await watch_inbox(coder, timeout_s=20)

        assert (check.name, check.state) == ("schedules", "wrong")
        assert "mallory to mallory finds its lane full, with 2 tasks" in check.said
        assert [item.task.id for item in inbox.tasks] == [mine.task_id]
        assert await strangers.checks(bus.settings) == []
