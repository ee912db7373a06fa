# SPDX-License-Identifier: Apache-2.0
"""A link that comes and goes, and a server of one's own that is killed: each task once, in order."""

import asyncio
import random
from contextlib import suppress

import pytest
from hosted import Hosted
from laptop import come_and_go, laptop

from mcp_agentbus.bus import budget
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import subjects

HANG_S = 60  # only a hang takes as long
TASKS = 25


@pytest.mark.promise(49)
async def test_what_three_agents_send_by_a_link_that_comes_and_goes_is_there_once_and_in_order(
    home, world, tmp_path, monkeypatch
):
    monkeypatch.setattr(budget, "CALL_S", 0.8)
    monkeypatch.setattr(budget, "_ANSWERS_WITHIN_S", 0.8)
    coder = (await world.session("coder")).me.id
    async with (
        laptop(tmp_path, home) as there,
        Hosted(there.settings, world.name("s0")) as machine,
        Session(machine.bus, Agent(world.name("s1")), outbox=machine.outbox) as second,
        Session(machine.bus, Agent(world.name("s2")), outbox=machine.outbox) as third,
    ):
        sessions = machine.session, second, third
        faults = asyncio.create_task(come_and_go(there, random.Random(16)))
        async with machine.forwarding(), asyncio.timeout(HANG_S):
            sending = [_all_sent(session, coder) for session in sessions]
            sent = await asyncio.gather(*sending)
            faults.cancel()
            there.proxy.accept()
            ids = [task_id for some in sent for task_id in some]
            assert await machine.outbox.handed_on(ids, HANG_S)

    for session, task_ids in zip(sessions, sent, strict=True):
        lane = subjects.task_subject(coder, "normal", session.me.id)
        pages = [page async for page in world.bus.stored(subjects.TASKS, lane)]
        stored = [message.headers[subjects.H_TASK] for page in pages for message in page]
        assert stored == task_ids, session.me.id


async def _all_sent(session, coder):
    """Send one task after the other, each again until there is a receipt; return their ids."""
    task_ids = []
    for number in range(TASKS):
        while len(task_ids) == number:
            with suppress(AgentbusError):
                [receipt] = await send_task(
                    session, coder, f"{number}", "x", request_id=f"r{number}"
                )
                task_ids.append(receipt.task_id)
    return task_ids
