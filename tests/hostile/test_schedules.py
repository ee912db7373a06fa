# SPDX-License-Identifier: Apache-2.0
"""What another program schedules under our subjects puts nothing into an inbox again and again."""

import asyncio

import pytest
from rawclient import Raw

from mcp_agentbus.doctor import strangers
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.parked import parking, replay
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import subjects
from mcp_agentbus.store.queries.counted import stored_subjects
from mcp_agentbus.wakes import demand

TASK = "f" * 32


async def schedule(session, when, due):
    """Have the server store a task at `due`, when `when` says; return once it has, the first."""
    holder = subjects.scheduled_subject(session.me.id, "high", "mallory", TASK)
    headers = {"Agentbus-Task": TASK, "Nats-Schedule": when, "Nats-Schedule-Target": due}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    stored, wakes = asyncio.Event(), subjects.wake_subject(session.me.id, "high")
    async with (
        session.bus.subscribed(wakes, lambda _: stored.set()),
        Raw(session.bus.settings.data_dir) as raw,
    ):
        answer = await raw.ask(
            holder.encode(), b'{"payload":{"content":"x"}}', f"NATS/1.0\r\n{lines}\r\n".encode()
        )
        assert "error" not in answer
        async with asyncio.timeout(10):
            await stored.wait()


@pytest.mark.parametrize("when", ["@every 1s", "* * * * * *"])
@pytest.mark.parametrize("sender", ["mallory", "planner"])
async def test_what_repeats_is_not_offered_and_wakes_nobody_and_doctor_removes_it(
    own_world, when, sender
):
    coder = await own_world.session("coder")
    await schedule(coder, when, subjects.due_subject(coder.me.id, "high", sender))

    looked = await demand.look(coder.bus, coder.me.id, coder.inboxes)
    inbox = await watch_inbox(coder, timeout_s=0)
    parked = await parking.parked(coder.bus, coder.me.id)
    [check] = await strangers.checks(coder.bus.settings)
    await asyncio.to_thread(check.mend.do)

    assert (looked.counts.high, looked.things) == (0, ())
    assert (inbox.tasks, inbox.notes, parked) == ((), (), [])
    assert check.state == "warning"
    assert "agent mallory" in check.said
    assert not await stored_subjects(
        coder.bus, subjects.SCHEDULE, subjects.scheduled_subject("*", "*", "*", "*")
    )


async def test_a_task_in_anothers_name_wakes_nobody_and_stays_parked_however_often_replayed(
    own_world,
):
    coder = await own_world.session("coder")
    await schedule(
        coder, "@at 2026-01-01T00:00:00Z", subjects.due_subject(coder.me.id, "high", "planner")
    )

    looked = await demand.look(coder.bus, coder.me.id, coder.inboxes)
    await read_inbox(coder)
    [parked] = await parking.parked(coder.bus, coder.me.id)
    await replay.replay(coder.bus, coder.inboxes, str(parked.number))
    again = await read_inbox(coder)

    assert looked.things == ()
    assert again.tasks == ()
    assert [each.reason for each in await parking.parked(coder.bus, coder.me.id)] == [parked.reason]


async def test_a_task_of_ours_that_waited_for_its_time_is_offered_also_after_it_was_parked(
    own_world,
):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    await send_task(planner, coder.me.id, "Later", "x", deliver_in_s=1)
    [item] = (await watch_inbox(coder, timeout_s=10)).tasks
    claim = coder.claims[item.task.id]
    await parking.park(coder.bus, claim.delivery, coder.me.id, "a test", None)
    coder.claims.let_go(item.task.id)
    [parked] = await parking.parked(coder.bus, coder.me.id)
    await replay.replay(coder.bus, coder.inboxes, str(parked.number))

    assert [each.task.id for each in (await read_inbox(coder)).tasks] == [item.task.id]
