# SPDX-License-Identifier: Apache-2.0
"""Many tasks at once: the urgent one is read first, and none is read twice."""

import asyncio
from datetime import timedelta

import pytest

from mcp_agentbus.core.text import now
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import codec, subjects
from mcp_agentbus.store.task import Task


async def store_many(bus, sender, to, count):
    """Store tasks without their senders' records, which is quicker; return their ids."""
    at = now()
    tasks = [
        Task(
            id=f"t{number}",
            sender=sender,
            to=to,
            subject=f"{number}",
            body="x",
            thread_id="many",
            created_at=at,
            expires_at=at + timedelta(hours=1),
        )
        for number in range(count)
    ]
    for start in range(0, count, 500):
        await asyncio.gather(*(store(bus, task) for task in tasks[start : start + 500]))
    return [task.id for task in tasks]


async def store(bus, task):
    subject = subjects.task_subject(task.to, task.priority, task.sender)
    message_id = f"{task.to}-{task.id}"
    await bus.publish(
        subject, codec.encode_task(task), codec.task_headers(task), message_id=message_id
    )


async def test_a_high_task_sent_after_10000_others_is_the_first_read(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    await store_many(world.bus, planner.me.id, coder.me.id, 10_000)

    [urgent] = await send_task(planner, coder.me.id, "Now", "x", priority="high")
    read = await read_inbox(coder, limit=2)

    assert [item.task.id for item in read.tasks] == [urgent.task_id, "t0"]
    assert read.waiting == {"normal": 9_999}


@pytest.mark.promise(12)
async def test_two_sessions_reading_600_tasks_at_once_share_them_without_a_double(world):
    planner, ann = await world.session("planner"), await world.session("coder")
    bob = await world.session("coder")
    sent = await store_many(world.bus, planner.me.id, ann.me.id, 600)

    async def work(session):
        done = []
        while tasks := (await watch_inbox(session, timeout_s=0, limit=7)).tasks:
            await asyncio.gather(
                *(publish_result(session, item.task.id, "completed") for item in tasks)
            )
            done += [item.task.id for item in tasks]
        return done

    shares = await asyncio.gather(work(ann), work(bob))

    assert sorted(shares[0] + shares[1]) == sorted(sent)
    assert all(shares)


@pytest.mark.promise(14)
async def test_claims_held_by_concurrent_reads_of_one_session_are_shown_to_each_once_as_new(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    sent = await store_many(world.bus, planner.me.id, coder.me.id, 60)

    answers = await asyncio.gather(*(watch_inbox(coder, timeout_s=0, limit=10) for _ in range(6)))

    shown = [item.task.id for answer in answers for item in answer.tasks]
    assert sorted(shown) == sorted(sent)
