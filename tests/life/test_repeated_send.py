# SPDX-License-Identifier: Apache-2.0
"""A send that is repeated with its request id: one task, or a refusal if it is another one."""

from __future__ import annotations

import asyncio

import pytest

from mcp_agentbus.errors import BadInput
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import subjects
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
