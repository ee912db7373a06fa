# SPDX-License-Identifier: Apache-2.0
"""A send that is repeated with its request id: one task, or a refusal if it is another one."""

from __future__ import annotations

import asyncio

import pytest
from set_aside import set_aside

from mcp_agentbus.errors import BadInput
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.intake.answer import Inbox
from mcp_agentbus.handoff.parked import parking, replay
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import subjects, tasks
from mcp_agentbus.store.records import read_sent


@pytest.mark.promise(2)
async def test_the_same_request_id_stores_one_task_and_says_duplicate(world):
    planner, coder = await world.session("planner"), await world.session("coder")

    [first] = await send_task(planner, coder.me.id, "Once", "only", request_id="r1")
    [again] = await send_task(planner, coder.me.id, "Once", "only", request_id="r1")

    assert (first.duplicate, again.duplicate) == (False, True)
    assert again.task_id == first.task_id
    assert len((await read_inbox(coder)).tasks) == 1


@pytest.mark.promise(2)
async def test_a_retry_finds_a_task_whose_acknowledgement_was_lost(world):
    """The first try stored the task and died before it wrote anything else."""
    planner, coder = await world.session("planner"), await world.session("coder")
    [first] = await send_task(planner, coder.me.id, "Once", "only", request_id="r2")
    subject = subjects.sent_subject(planner.me.id, coder.me.id, first.task_id)
    await world.bus.api(f"STREAM.PURGE.{subjects.RESULTS}", {"filter": subject})

    [again] = await send_task(planner, coder.me.id, "Once", "only", request_id="r2")

    assert again.duplicate
    assert len((await read_inbox(coder)).tasks) == 1
    assert (await read_sent(world.bus, planner.me.id, "*", first.task_id))[0] is not None


_REQUEST = {"subject": "One thing", "body": "x", "request_id": "r3"}


@pytest.mark.promise(2)
@pytest.mark.parametrize(
    "other",
    [
        {"subject": "Another thing"},
        {"body": "y"},
        {"priority": "high"},
        {"task_type": "review"},
        {"thread_id": "talk"},
        {"in_reply_to": "t1"},
        {"expires_in_s": 60},
        {"deliver_in_s": 60},
        {"notify": "never"},
    ],
    ids=lambda other: next(iter(other)),
)
async def test_a_request_id_used_for_another_task_is_refused(world, other):
    planner, coder = await world.session("planner"), await world.session("coder")
    [first] = await send_task(planner, coder.me.id, **_REQUEST)

    with pytest.raises(BadInput, match=f"used for another task, {first.task_id}"):
        await send_task(planner, coder.me.id, **{**_REQUEST, **other})

    [again] = await send_task(planner, coder.me.id, **_REQUEST)
    assert (again.task_id, again.duplicate) == (first.task_id, True)
    [item] = (await read_inbox(coder)).tasks
    assert (item.task.subject, item.task.body) == ("One thing", "x")


@pytest.mark.promise(2)
async def test_a_request_id_is_known_from_the_task_where_a_lost_call_has_kept_nothing_else(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    [first] = await send_task(planner, coder.me.id, **_REQUEST)
    subject = subjects.sent_subject(planner.me.id, coder.me.id, first.task_id)
    await world.bus.api(f"STREAM.PURGE.{subjects.RESULTS}", {"filter": subject})

    with pytest.raises(BadInput, match="used for another task"):
        await send_task(planner, coder.me.id, **{**_REQUEST, "body": "y"})

    assert (await read_sent(world.bus, planner.me.id, coder.me.id, first.task_id))[0] is None


@pytest.mark.promise(2)
async def test_two_calls_of_one_request_id_at_once_store_one_task_and_refuse_the_other(world):
    planner, coder = await world.session("planner"), await world.session("coder")

    outcomes = await asyncio.gather(
        *(send_task(planner, coder.me.id, **{**_REQUEST, "body": body}) for body in "xyz"),
        return_exceptions=True,
    )

    assert [type(outcome) for outcome in outcomes].count(BadInput) == 2
    assert len((await read_inbox(coder)).tasks) == 1


@pytest.mark.promise(2)
async def test_a_request_id_used_for_another_task_to_one_of_several_stores_none(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    other = await world.session("other")
    await send_task(planner, coder.me.id, **_REQUEST)

    with pytest.raises(BadInput, match="used for another task"):
        await send_task(planner, [other.me.id, coder.me.id], **{**_REQUEST, "body": "y"})
    assert (await read_inbox(other)).empty

    receipts = await send_task(planner, [other.me.id, coder.me.id], **_REQUEST)
    assert [receipt.duplicate for receipt in receipts] == [False, True]


@pytest.mark.promise(18)
@pytest.mark.parametrize("reads_between", [False, True])
async def test_a_task_that_lies_in_its_inbox_again_as_it_is_offered_again_is_done_once(
    own_world, reads_between
):
    """Its sender has stored it once more, after the server had forgotten that it knew it."""
    planner, coder, task_id = await set_aside(own_world)
    bus = own_world.bus
    [parked] = await parking.parked(bus, coder.me.id)
    await tasks.store(bus, parked.task, message_id="once more")

    before = await read_inbox(coder) if reads_between else Inbox()
    await replay.replay(bus, [coder.me.id], task_id)
    [item] = (await watch_inbox(coder, timeout_s=5)).tasks
    await publish_result(coder, task_id, "completed")
    after = await read_inbox(coder)

    assert (before.tasks, item.task.id, item.attempt) == ((), task_id, 1)
    assert (after.tasks, after.waiting, await parking.parked(bus, coder.me.id)) == ((), {}, [])
    states = [each.state for each in (await watch_inbox(planner, timeout_s=0)).results]
    assert states == ["completed"]
