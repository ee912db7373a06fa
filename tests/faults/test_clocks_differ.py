# SPDX-License-Identifier: Apache-2.0
"""A machine whose clock is wrong: what has a time has it by the server's clock, for everybody."""

import asyncio

import pytest
from made_cluster import until

from mcp_agentbus.archive.history import history
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.intake import watches
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.shell_session import shell_session
from mcp_agentbus.overview.known import known
from mcp_agentbus.patterns.clear import to_clear
from mcp_agentbus.patterns.gather import gather
from mcp_agentbus.store import subjects
from mcp_agentbus.store.queries import clock, consumers
from mcp_agentbus.store.subjects import TASKS

_HANG_S = 60  # only a hang takes as long
_WRONG = pytest.mark.parametrize("by", [-600, 600])
_EXACT_S = 2


@_WRONG
@pytest.mark.promise(35)
async def test_a_deadline_counts_by_the_servers_clock_from_when_it_was_sent(world, set_clock, by):
    planner, coder = await world.session("planner"), await world.session("coder")
    set_clock(by)

    [sent] = await send_task(planner, coder.me.id, "Count", "x", expires_in_s=300)

    left_s = (sent.expires_at - await clock.server_now(world.bus, TASKS)).total_seconds()
    assert abs(left_s - 300) < _EXACT_S
    set_clock(0)
    assert [item.task.id for item in (await read_inbox(coder)).tasks] == [sent.task_id]


@_WRONG
async def test_what_is_to_be_offered_later_falls_due_by_the_servers_clock(world, set_clock, by):
    planner, coder = await world.session("planner"), await world.session("coder")
    set_clock(by)
    [sent] = await send_task(planner, coder.me.id, "Count", "x", deliver_in_s=1)
    set_clock(0)

    assert (await read_inbox(coder)).tasks == ()
    offered = await watch_inbox(coder, timeout_s=_HANG_S)

    assert [item.task.id for item in offered.tasks] == [sent.task_id]


@pytest.mark.promise(35)
async def test_whose_clock_is_ahead_ends_nothing_before_its_deadline(world, set_clock):
    """Neither its reader does, nor its sender; and what its worker says does not come late."""
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Count", "x", expires_in_s=300)
    set_clock(600)

    assert (await read_inbox(planner)).results == ()
    [item] = (await read_inbox(coder)).tasks
    done = await publish_result(coder, item.task.id, "completed", summary="214")

    assert (done.state, done.late) == ("completed", False)
    [told] = (await read_inbox(planner)).results
    assert (told.task_id, told.state) == (sent.task_id, "completed")


@pytest.mark.promise(35)
async def test_whose_clock_is_behind_takes_no_task_after_its_deadline_and_is_told_of_it(
    world, set_clock, monkeypatch
):
    monkeypatch.setattr(watches, "LOOK_AGAIN_S", 0.2)
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Count", "x", expires_in_s=1)
    set_clock(-600)

    async with asyncio.timeout(_HANG_S):
        told = await watch_inbox(planner, task_id=sent.task_id, timeout_s=_HANG_S)

    assert [result.state for result in told.results] == ["expired"]
    assert (await read_inbox(coder)).tasks == ()


@pytest.mark.parametrize("by_days", [-10, 10])
async def test_a_clock_that_is_days_off_ends_no_task_either(world, set_clock, by_days):
    """As that of a board without a battery, or of a machine that was restored from an image."""
    planner, coder = await world.session("planner"), await world.session("coder")
    set_clock(by_days * 86_400)
    await send_task(planner, coder.me.id, "Sent by a wrong clock", "x")
    set_clock(0)
    await send_task(planner, coder.me.id, "Read by a wrong clock", "x", expires_in_s=3600)
    first = await read_inbox(coder, limit=1)
    set_clock(by_days * 86_400)
    second = await read_inbox(coder, limit=1)

    assert len(first.tasks) == 1
    assert len(second.tasks) == 2
    assert (await read_inbox(planner)).results == ()


async def test_gather_waits_for_answers_by_a_clock_that_is_ahead_as_well(world, set_clock):
    planner, coder = await world.session("planner"), await world.session("coder")
    set_clock(600)
    asking = asyncio.create_task(gather(planner, [coder.me.id], "Count", "x", within_s=_HANG_S))
    [item] = (await watch_inbox(coder, timeout_s=_HANG_S)).tasks
    await publish_result(coder, item.task.id, "completed", summary="214")

    gathered = await asking

    assert [answer.summary for answer in gathered.answers] == ["214"]


@_WRONG
async def test_the_result_of_a_task_that_its_sender_is_about_to_keep_waits_for_that(
    world, set_clock, by
):
    planner, coder = await world.session("planner"), await world.session("coder")
    await world.bus.publish(
        subjects.task_subject(coder.me.id, "normal", planner.me.id),
        b'{"id":"t1","type":"task.request","payload":{"content":"x"}}',
    )
    [item] = (await read_inbox(coder)).tasks
    await publish_result(coder, item.task.id, "completed")
    set_clock(by)

    assert (await read_inbox(planner)).results == ()


@_WRONG
async def test_what_has_no_end_can_be_withdrawn_with_all_else_by_a_clock_that_is_wrong(
    world, set_clock, by
):
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Count", "x", expires_in_s=300)
    set_clock(by)

    assert (await to_clear(planner)).sent == (sent.task_id,)


async def test_what_is_open_is_shown_as_that_by_a_clock_that_is_ahead(world, set_clock):
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Count", "x", expires_in_s=300)
    set_clock(600)

    [task] = (await history(planner, view="open")).tasks
    async with known(planner.bus.settings, planner.bus) as here:
        resting = [each.oldest.state for each in here.resting if each.inbox == coder.me.id]

    assert (task.task_id, task.state) == (sent.task_id, "stored")
    assert (await history(planner, state="expired")).tasks == ()
    assert resting == ["stored"]


async def test_what_has_expired_is_shown_as_that_by_a_clock_that_is_behind(world, set_clock):
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Count", "x", expires_in_s=1)
    set_clock(-600)

    async def expired():
        return [task.task_id for task in (await history(planner, state="expired")).tasks]

    async with asyncio.timeout(_HANG_S):
        await until(expired)
    assert await expired() == [sent.task_id]
    assert (await history(planner, view="open")).tasks == ()


async def test_the_server_is_asked_for_its_time_once_until_this_machines_clock_is_set(
    world, set_clock, monkeypatch
):
    asked, ask = [], clock.server_now

    async def noted(bus, stream):
        asked.append(stream)
        return await ask(bus, stream)

    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Count", "x", expires_in_s=300)
    bus = world.bus
    clock._told.pop(bus, None)
    monkeypatch.setattr(clock, "server_now", noted)

    for _ in range(3):
        assert not await clock.has_come(bus, sent.expires_at)
    assert asked == [TASKS]
    set_clock(600)
    assert not await clock.has_come(bus, sent.expires_at)
    assert asked == [TASKS] * 2


async def test_nobody_is_asked_about_a_time_that_is_days_away(world, monkeypatch):
    monkeypatch.setattr(clock, "server_now", None)  # to call it fails
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Count", "x")

    assert [item.task.id for item in (await read_inbox(coder)).tasks] == [sent.task_id]


@pytest.mark.parametrize("by", [-7 * 3600, 7 * 3600])
@pytest.mark.parametrize("wrong", ["holder", "reader"])
async def test_what_a_shell_holds_is_its_own_for_two_hours_by_the_servers_clock(
    world, set_clock, tmp_path, wrong, by
):
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Count", "x")
    async with shell_session(world.bus, coder.me, tmp_path) as shell:
        set_clock(by if wrong == "holder" else 0)
        assert (await read_inbox(shell)).tasks
        set_clock(by if wrong == "reader" else 0)
        lane = consumers.lane(coder.me.id, "normal")
        for each in await world.bus.handed_out(lane.stream, lane.name, lane.subject):
            await world.bus.give_back(each)  # as the server does of what nobody extends

        assert (await read_inbox(coder)).tasks == ()
        assert sent.task_id in {item.task.id for item in (await read_inbox(shell)).tasks}
