# SPDX-License-Identifier: Apache-2.0
"""What waits in a lane: each task is looked at where these are few, and else the server counts."""

from datetime import timedelta

import pytest
from exact_server import ExactServer

from mcp_agentbus.bus.replies import ApiError, Found
from mcp_agentbus.core.ids import SHELL_PREFIX, Agent
from mcp_agentbus.core.text import now
from mcp_agentbus.errors import NotAllowed
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.intake.rest import offered
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import queues, roster
from mcp_agentbus.store.queries.consumers import ConsumerInfo
from mcp_agentbus.store.queues import Lane
from mcp_agentbus.store.records import read_record, read_sent, write_record
from mcp_agentbus.store.steps import first_record, step

FEW = 2


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Have each of so many tasks be looked at, and no more."""
    monkeypatch.setattr(queues, "LOOKED_AT_MAX", FEW)


async def _sent(world, count):
    """Send an agent that has never read so many tasks; return its id and theirs."""
    planner, coder = await world.session("planner"), Agent(world.name("coder"))
    await roster.register(world.bus, coder, None)
    sent = [await send_task(planner, coder.id, f"{number}", "x") for number in range(count)]
    await planner.outcomes.sent_records.settled()
    return planner.me.id, coder.id, [receipt.task_id for [receipt] in sent]


def test_a_lane_of_which_nothing_is_said_is_empty():
    assert Lane() == Lane(count=0, held=0, tasks={}, records={}, asking=())


async def test_the_lanes_in_which_anything_is_stored_are_told_of_the_inboxes_that_are_asked_for():
    places = ("coder.tasks.low", "role-review.tasks.high", "tester.tasks.high")
    server = ExactServer(
        messages=[Found(f"agentbus.{each}.planner", 1, now(), {}, b"") for each in places]
    )

    assert await queues.stocked(server, ["coder", "role-review"]) == {
        ("coder", "low"), ("role-review", "high"),
    }  # fmt: skip
    assert await queues.stocked(server, ["ann"]) == frozenset()


@pytest.mark.parametrize("look", [queues.look, queues.look_soon])
async def test_of_few_tasks_each_is_looked_at_and_of_one_more_the_server_tells_how_many(
    world, look
):
    _, coder, ids = await _sent(world, FEW)
    lane = await look(world.bus, coder, "normal")
    assert [task.id for task in lane.tasks.values()] == ids
    assert lane == Lane(FEW, 0, lane.tasks, {}, ())

    await send_task(await world.session("planner"), coder, "one more", "x")

    assert await look(world.bus, coder, "normal") == Lane(FEW + 1, 0, None)
    assert await queues.offered(world.bus, [coder], ["normal", "low"]) == {"normal": 3, "low": 0}


async def _claimed(world, count, *, by=("coder",)):
    """Have sessions of one agent claim so many tasks each; return them."""
    readers = [await world.session(name) for name in by]
    planner = await world.session("planner")
    for number in range(count * len(by)):
        await send_task(planner, readers[0].me.id, f"{number}", "x")
    for reader in readers:
        await read_inbox(reader, limit=count)
    assert [len(reader.claims) for reader in readers] == [count] * len(by)
    return readers


@pytest.mark.parametrize("look", [queues.look, queues.look_soon])
async def test_of_many_what_was_given_back_waits_and_what_a_session_holds_does_not(world, look):
    [coder] = await _claimed(world, FEW + 2)
    lane = await look(world.bus, coder.me.id, "normal")
    assert (lane.count, lane.held) == (0, FEW + 2)

    await publish_result(coder, next(iter(coder.claims)), "released")
    lane = await look(world.bus, coder.me.id, "normal")
    assert (lane.count, lane.held, lane.gone) == (1, FEW + 1, 0)

    await coder.close()
    lane = await look(world.bus, coder.me.id, "normal")
    assert (lane.count, lane.held) == (FEW + 2, 0)
    assert await queues.offered(world.bus, [coder.me.id], ["normal"]) == {"normal": FEW + 2}


async def test_what_its_reader_holds_itself_is_not_looked_at_to_tell_what_is_offered(
    world, monkeypatch
):
    [coder] = await _claimed(world, FEW + 2)
    monkeypatch.setattr(queues, "_of_many", None)

    assert await offered(coder, ["normal", "low"]) == {"normal": 0, "low": 0}


async def test_of_the_sessions_of_one_agent_that_hold_a_task_each_is_asked_once(world, monkeypatch):
    [first, *_] = await _claimed(world, 1, by=("coder",) * 5)
    signs, asked = roster.signs_of_life, []

    async def counted(bus, agent):
        asked.append(agent)
        return await signs(bus, agent)

    monkeypatch.setattr(roster, "signs_of_life", counted)
    lane = await queues.look(world.bus, first.me.id, "normal")

    assert (lane.count, lane.held, asked) == (0, 5, [first.me.id])


async def test_of_more_than_is_looked_at_the_rest_is_reckoned_once_one_is_found_that_waits(
    world, monkeypatch
):
    monkeypatch.setattr(queues, "OUT_MAX", 2)
    first, second = await _claimed(world, 3, by=("coder", "coder"))
    lane = await queues.look(world.bus, first.me.id, "normal")
    assert (lane.count, lane.held) == (0, 6)

    await second.close()

    lane = await queues.look(world.bus, first.me.id, "normal")
    assert (lane.count, lane.held) == (1 + 1, 3 + 1)


async def test_of_many_another_account_s_agent_has_those_that_were_handed_out_are_as_held(
    world, monkeypatch
):
    async def refused(*_):
        raise NotAllowed

    [coder] = await _claimed(world, FEW + 2)
    await coder.close()
    monkeypatch.setattr(world.bus, "many", refused)

    assert await queues.look(world.bus, coder.me.id, "normal") == Lane(0, FEW + 2, None)


async def test_of_many_no_more_are_read_than_tell_that_they_are_many(world):
    _, coder, _ = await _sent(world, FEW + 2)

    assert len(await queues._few(world.bus, coder, "normal")) == FEW + 1
    assert await queues._handed_out(world.bus, coder, "normal") == ConsumerInfo(FEW + 2, 0)


@pytest.mark.parametrize(
    ("told", "lane"),
    [
        (ConsumerInfo(1, 1), Lane(3, 0, None)),  # its consumer is behind
        (ConsumerInfo(2, 1), Lane(2, 0, None)),
        (ConsumerInfo(3, 0), Lane(3, 0, None)),
    ],
)
async def test_where_more_are_stored_than_the_server_counts_as_handed_out_they_are_counted(
    world, told, lane
):
    _, coder, _ = await _sent(world, 4)
    messages = await queues._few(world.bus, coder, "normal")

    assert await queues._lane(world.bus, (coder, "normal"), told, messages) == lane


async def test_what_the_server_refuses_besides_is_no_empty_lane(world, monkeypatch):
    async def refused(*_):
        raise ApiError(10008)

    monkeypatch.setattr(world.bus, "api", refused)
    with pytest.raises(ApiError):
        await queues.look(world.bus, world.name("coder"), "normal")


async def test_several_inboxes_are_counted_as_one_with_what_is_asked_in_any(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    tester = await world.session("tester")
    [asked] = await send_task(planner, coder.me.id, "Count", "x")
    await read_inbox(coder)
    await publish_result(coder, asked.task_id, "needs_input", summary="What?")
    await send_task(planner, tester.me.id, "Test", "x")
    record, _ = await read_record(world.bus, planner.me.id, coder.me.id, asked.task_id)

    lane = await queues.look_together(world.bus, [coder.me.id, tester.me.id], "normal")

    assert lane == Lane(1, 1, None, {}, asking=(record,))


async def test_each_claim_of_a_shell_lasts_its_own_time(world, monkeypatch):
    planner, coder, ids = await _sent(world, FEW)
    for number, task_id in enumerate(ids):
        sent, _ = await read_sent(world.bus, planner, coder, task_id)
        at = now() - timedelta(hours=3 * number)
        claimed = step(first_record(sent), "claimed", coder, f"{SHELL_PREFIX}1", at)
        await write_record(world.bus, claimed, 0)

    async def is_first(_, record):
        return record.task_id == ids[0]

    monkeypatch.setattr(roster, "may_hold", is_first)
    lane = await queues.look(world.bus, coder, "normal")

    assert ([task.id for task in lane.tasks.values()], lane.held) == ([ids[1]], 1)
    assert {seq: record.task_id for seq, record in lane.records.items()} == dict.fromkeys(
        lane.tasks, ids[1]
    )
