# SPDX-License-Identifier: Apache-2.0
"""Consumers: another program's that is in the way is named, and one that nobody uses goes."""

import asyncio

import pytest

from mcp_agentbus.core.ids import LANES
from mcp_agentbus.doctor import strangers
from mcp_agentbus.errors import Refused
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import subjects
from mcp_agentbus.store.queries import consumers


@pytest.mark.parametrize("takes", ["the lane", "everything", "by our name"])
async def test_a_consumer_in_the_way_is_named_and_removed_and_nothing_is_lost(own_world, takes):
    planner = await own_world.session("planner")
    coder = await own_world.session("coder", known=False)
    bus, lane = coder.bus, consumers.lane(coder.me.id, "high")
    await planner.bus.publish(
        subjects.task_subject(coder.me.id, "high", planner.me.id),
        b'{"id":"t1","payload":{"content":"x"}}',
    )
    for priority in LANES:  # else they are in the way of what takes everything
        await bus.api(
            f"CONSUMER.DELETE.{subjects.TASKS}.{subjects.lane_consumer(planner.me.id, priority)}"
        )
    name = lane.name if takes == "by our name" else "theirs"
    config = {"durable_name": name, "name": name, "ack_policy": "explicit"}
    if takes != "everything":
        config["filter_subject"] = lane.subject
    if takes == "by our name":
        config["filter_subject"] = f"agentbus.{coder.me.id}.tasks.*.*"
    body = {"stream_name": subjects.TASKS, "config": config}
    await bus.api(f"CONSUMER.CREATE.{subjects.TASKS}.{name}", body)

    with pytest.raises(Refused) as refused:
        await read_inbox(coder)
    [check] = await strangers.checks(bus.settings)
    await asyncio.to_thread(check.mend.do)
    inbox = await read_inbox(coder)

    assert refused.value.message.startswith("1 consumer of another program takes")
    assert coder.me.id in refused.value.message
    assert "doctor --fix" in refused.value.hint
    assert (check.name, check.state) == ("consumers", "wrong")
    assert name in check.said
    assert [item.task.id for item in inbox.tasks] == ["t1"]


async def test_what_nobody_uses_is_cleaned_up_by_the_server_and_what_waits_is_kept(
    own_world, monkeypatch
):
    monkeypatch.setattr(consumers, "UNUSED_S", 1)
    planner = await own_world.session("planner")
    deleted, gone = f"$JS.EVENT.ADVISORY.CONSUMER.DELETED.{subjects.TASKS}", asyncio.Event()
    lane = subjects.lane_consumer(own_world.name("coder"), "normal")
    async with planner.bus.subscribed(f"{deleted}.{lane}", lambda _: gone.set()):
        coder = await own_world.session("coder")
        [receipt] = await send_task(planner, coder.me.id, "Count", "x")
        async with asyncio.timeout(20):
            await gone.wait()

    inbox = await watch_inbox(coder, timeout_s=5)

    assert [item.task.id for item in inbox.tasks] == [receipt.task_id]
