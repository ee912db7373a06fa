# SPDX-License-Identifier: Apache-2.0
"""What a server has lost of the bus is made anew by whoever misses it, while its sessions go on."""

from dataclasses import replace
from datetime import timedelta

import pytest
from set_aside import set_aside

from mcp_agentbus.doctor import strangers
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.parked import parking, replay
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import roster, streams, subjects
from mcp_agentbus.store.upkeep import lost as upkeep_lost


async def lose(bus, *lost):
    for stream in lost:
        names = (await bus.api(f"CONSUMER.NAMES.{stream}"))["consumers"]
        for name in names:
            await bus.api(f"CONSUMER.DELETE.{stream}.{name}")


@pytest.fixture
async def pair(own_world):
    """A planner and a coder that have called every tool that reads."""
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    for session in (planner, coder):
        await read_inbox(session)
    return planner, coder


async def test_sessions_read_on_where_the_server_has_lost_their_consumers(pair):
    planner, coder = pair
    for turn in range(2):
        [receipt] = await send_task(planner, coder.me.id, f"Turn {turn}", "x")
        await lose(planner.bus, subjects.TASKS, subjects.RESULTS)
        [item] = (await read_inbox(coder)).tasks
        await publish_result(coder, item.task.id, "completed")
        await lose(planner.bus, subjects.TASKS, subjects.RESULTS)
        answer = await watch_inbox(planner, timeout_s=0)
        assert [result.task_id for result in answer.results] == [receipt.task_id]
        assert answer.degraded == ""


async def test_sessions_go_on_where_the_server_has_lost_every_stream(pair):
    planner, coder = pair
    for stream in streams.STREAMS:
        await planner.bus.api(f"STREAM.DELETE.{stream}")

    nothing = await read_inbox(coder)
    beat = subjects.heartbeat_subject(coder.me.id, coder.id)  # as it says every 5 s
    await coder.bus.publish(beat, b'{"kind":"session"}')
    await send_task(planner, coder.me.id, "On a new store", "x")
    [item] = (await watch_inbox(coder, timeout_s=5)).tasks
    await publish_result(coder, item.task.id, "completed")
    answer = await watch_inbox(planner, timeout_s=5, task_id=item.task.id)

    assert (nothing.tasks, nothing.degraded) == ((), "")
    assert [result.state for result in answer.results] == ["completed"]


@pytest.mark.parametrize("lost", streams.STREAMS)
async def test_a_task_goes_over_and_back_where_one_stream_was_lost(pair, lost):
    planner, coder = pair
    await planner.bus.api(f"STREAM.DELETE.{lost}")

    [receipt] = await send_task(planner, coder.me.id, "On what is left", "x")
    [item] = (await watch_inbox(coder, timeout_s=5)).tasks
    await publish_result(coder, item.task.id, "completed")
    answer = await watch_inbox(planner, timeout_s=5)

    assert item.task.id == receipt.task_id
    assert [result.task_id for result in answer.results] == [receipt.task_id]


@pytest.mark.parametrize("lost", [subjects.TASKS, subjects.SCHEDULE])
async def test_who_sent_what_was_lost_with_its_stream_is_told_and_so_is_doctor(
    pair, monkeypatch, lost
):
    monkeypatch.setattr(upkeep_lost, "_TOGETHER", timedelta())
    planner, coder = pair
    later = 3600 if lost == subjects.SCHEDULE else None
    [held] = await send_task(planner, coder.me.id, "Held", "x")
    [item] = (await read_inbox(coder, limit=1)).tasks
    [gone] = await send_task(planner, coder.me.id, "Gone", "x", deliver_in_s=later)
    await planner.bus.api(f"STREAM.DELETE.{lost}")
    [fresh] = await send_task(planner, coder.me.id, "Fresh", "x", deliver_in_s=later)

    planner.outcomes.swept_at = None  # as after a minute
    [result] = (await watch_inbox(planner, timeout_s=5)).results
    await publish_result(coder, item.task.id, "completed")
    answers = await watch_inbox(planner, timeout_s=5)
    [check, _] = await strangers.checks(planner.bus.settings)

    assert (result.task_id, result.state) == (gone.task_id, "failed")
    assert "lost" in result.reason
    assert [answer.task_id for answer in answers.results] == [held.task_id]
    assert fresh.task_id in planner.outcomes.sent
    assert (check.name, check.state) == ("losses", "warning")
    assert lost in check.said


@pytest.mark.parametrize(
    ("lost", "said", "fix"),
    [
        (subjects.RESULTS, "comes as UNASKED", "Send again"),
        (subjects.DEAD, "tasks that were parked there are lost", "Send again"),
        (subjects.AGENTS, "cannot be sent to until", "A listener does so within a minute"),
    ],
)
async def test_doctor_tells_of_the_loss_of_what_holds_no_waiting_task(
    pair, monkeypatch, lost, *, said, fix
):
    planner, coder = pair
    await planner.bus.api(f"STREAM.DELETE.{lost}")
    await send_task(planner, coder.me.id, "Fresh", "x")
    await planner.outcomes.sent_records.settled()

    await streams.ensure_streams(planner.bus)
    first = min((await upkeep_lost.made_at(planner.bus, (subjects.TASKS,))).values())
    [last] = (await upkeep_lost.made_at(planner.bus, (lost,))).values()
    monkeypatch.setattr(upkeep_lost, "_TOGETHER", last - first - timedelta(microseconds=1))

    [check] = await strangers.checks(planner.bus.settings)

    assert (check.name, check.state) == ("losses", "warning")
    assert check.said.startswith(f"{lost} was made anew on ")
    assert said in check.said
    assert check.fix.startswith(fix)


async def test_doctor_tells_of_a_lost_roster_until_all_are_on_it_that_are_set_up(pair, monkeypatch):
    monkeypatch.setattr(upkeep_lost, "_TOGETHER", timedelta())
    planner, coder = pair
    bus, ours = planner.bus, {each.me.id: replace(each.me, set_up=True) for each in pair}
    set_up = replace(bus.settings, agents=ours)
    await bus.api(f"STREAM.DELETE.{subjects.AGENTS}")
    await streams.ensure_streams(bus)

    async def told(settings):
        found = await strangers.checks(settings)
        return [check.name for check in found if check.said.startswith(subjects.AGENTS)]

    await roster.register(bus, planner.me, None)
    before = await told(set_up)
    await roster.register(bus, coder.me, None)

    assert (before, await told(set_up)) == (["losses"], [])
    assert await told(bus.settings) == ["losses"]  # who was there nobody knows


async def test_whose_result_was_lost_with_the_stream_of_records_is_told(pair):
    planner, coder = pair
    over, waits = [
        (await send_task(planner, coder.me.id, subject, "x"))[0] for subject in ("Over", "Waits")
    ]
    await read_inbox(coder, limit=1)
    planner.outcomes.swept_at = None
    await read_inbox(planner)
    await publish_result(coder, over.task_id, "completed")
    await planner.bus.api(f"STREAM.DELETE.{subjects.RESULTS}")
    [fresh] = await send_task(planner, coder.me.id, "Fresh", "x")

    planner.outcomes.swept_at = None  # as after a minute
    told = (await watch_inbox(planner, timeout_s=5)).results

    assert [(each.task_id, each.state) for each in told] == [(over.task_id, "failed")]
    assert "lost it, with all that was kept of it" in told[0].reason
    assert {item.task.id for item in (await read_inbox(coder)).tasks} == {
        waits.task_id, fresh.task_id,
    }  # fmt: skip


async def test_who_sent_what_was_lost_with_all_streams_at_once_is_told(pair):
    planner, coder = pair
    [gone] = await send_task(planner, coder.me.id, "Gone", "x")
    for stream in (subjects.TASKS, subjects.SCHEDULE, subjects.RESULTS):
        await planner.bus.api(f"STREAM.DELETE.{stream}")
    [fresh] = await send_task(planner, coder.me.id, "Fresh", "x")

    planner.outcomes.swept_at = None  # as after a minute
    told = (await watch_inbox(planner, timeout_s=5)).results
    [item] = (await read_inbox(coder)).tasks
    await publish_result(coder, item.task.id, "completed")
    [result] = (await watch_inbox(planner, timeout_s=5, task_id=fresh.task_id)).results

    assert [(each.task_id, each.state) for each in told] == [(gone.task_id, "failed")]
    assert "lost it, with all that was kept of it" in told[0].reason
    assert (item.task.id, result.state) == (fresh.task_id, "completed")


async def test_so_is_who_had_not_looked_before(own_world):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    await read_inbox(coder)
    [gone] = await send_task(planner, coder.me.id, "Gone", "x")
    await planner.outcomes.sent_records.settled()
    for stream in (subjects.TASKS, subjects.SCHEDULE, subjects.RESULTS):
        await planner.bus.api(f"STREAM.DELETE.{stream}")

    told = (await watch_inbox(planner, timeout_s=5)).results

    assert [(each.task_id, each.state) for each in told] == [(gone.task_id, "failed")]


@pytest.mark.promise(18)
async def test_what_is_set_aside_in_a_stream_made_anew_is_offered_again_as_what_was_before(
    own_world,
):
    bus = own_world.bus
    for _ in range(2):  # the first of its stream each time
        _, coder, task_id = await set_aside(own_world)

        await replay.replay(bus, [coder.me.id], task_id)

        assert [item.task.id for item in (await watch_inbox(coder, timeout_s=5)).tasks] == [task_id]
        await publish_result(coder, task_id, "completed")
        await bus.api(f"STREAM.DELETE.{subjects.DEAD}")


@pytest.mark.promise(16)
async def test_what_cannot_be_read_in_a_stream_made_anew_is_set_aside_as_what_was_before(pair):
    planner, coder = pair
    lane = subjects.task_subject(coder.me.id, "normal", planner.me.id)
    for rubbish in (b"of before", b"of a new store"):
        await planner.bus.publish(lane, rubbish, stream=subjects.TASKS)

        await watch_inbox(coder, timeout_s=5)

        await planner.bus.api(f"STREAM.DELETE.{subjects.TASKS}")
    assert [each.size for each in await parking.parked(coder.bus, coder.me.id)] == [9, 14]
