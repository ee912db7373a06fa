# SPDX-License-Identifier: Apache-2.0
"""All that stands of a task is read by one request, and is its sender's and its worker's word."""

from __future__ import annotations

import pytest

from mcp_agentbus.bus.replies import Found
from mcp_agentbus.core.text import now
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import records
from mcp_agentbus.store.queries import senders, sides
from mcp_agentbus.store.queries.sides import Records, read_sides
from mcp_agentbus.store.task import Moment


@pytest.fixture
def asked(world, monkeypatch):
    """Count what is asked of the server from here on."""
    counted: list[object] = []
    tried = world.bus._tried

    def count(ask, **how):
        counted.append(ask)
        return tried(ask, **how)

    monkeypatch.setattr(world.bus, "_tried", count)
    return counted


@pytest.mark.parametrize("who", ["planner", "coder"])
async def test_the_life_of_a_task_that_is_over_is_one_request(world, asked, who):
    sessions = {name: await world.session(name) for name in ("planner", "coder")}
    planner, coder = sessions.values()
    [receipt] = await send_task(planner, coder.me.id, "Count", "x")
    await read_inbox(coder)
    await publish_result(coder, receipt.task_id, "completed", summary="12")
    asked.clear()

    life = await task_life(sessions[who], receipt.task_id)

    assert (life.state, life.record.summary, life.sent.subject) == ("completed", "12", "Count")
    assert len(asked) == 1


async def test_each_side_has_what_its_owner_and_its_inbox_know(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    [receipt] = await send_task(planner, coder.me.id, "Count", "x")
    moment = Moment(state="stored", at=now(), by=coder.me.id)
    me, inbox, task_id = planner.me.id, coder.me.id, receipt.task_id
    await records.add_wake(world.bus, me, inbox, task_id, moment)
    await read_inbox(coder)

    sent, got, nobodys = await read_sides(
        world.bus, [(me, "*"), ("*", inbox), ("*", "nobody")], task_id
    )

    assert sent == got
    assert (sent.record.state, sent.sent.owner, sent.wakes.moments) == ("claimed", me, (moment,))
    assert nobodys == Records()


async def test_more_sides_than_go_into_one_request_are_all_read(world, monkeypatch):
    planner, coder = await world.session("planner"), await world.session("coder")
    [receipt] = await send_task(planner, coder.me.id, "Count", "x")
    await planner.outcomes.sent_records.settled()
    monkeypatch.setattr(records, "_FILTERS_MAX", 4)
    others = [(f"agent-{number}", "*") for number in range(5)]

    *nobodys, sent = await read_sides(world.bus, [*others, (planner.me.id, "*")], receipt.task_id)

    assert sent.sent.inbox == coder.me.id
    assert nobodys == [Records()] * 5


@pytest.mark.parametrize(
    ("side", "is_of"),
    [
        (("*", "*"), True),
        (("planner", "*"), True),
        (("*", "coder"), True),
        (("planner", "coder"), True),
        (("other", "coder"), False),
        (("planner", "other"), False),
        (("*", "t1"), False),  # as the task is called
    ],
)
def test_a_record_is_of_the_side_of_its_owner_and_its_inbox(side, is_of):
    stored = Found("agentbus.planner.results.coder.t1", 1, now(), {}, b"")

    assert sides._is_of(stored, *side) is is_of


async def test_who_only_saw_a_result_has_not_sent_its_task(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    [receipt] = await send_task(planner, coder.me.id, "Count", "x")
    await read_inbox(coder)
    await planner.outcomes.sent_records.settled()
    where = planner.me.id, coder.me.id, receipt.task_id
    sent, revision = await records.read_sent(world.bus, *where)
    assert await senders.sent_to(world.bus, *where[1:]) == sent

    await records.write_sent(world.bus, sent.model_copy(update={"unasked": True}), revision)
    assert await senders.sent_to(world.bus, *where[1:]) is None
