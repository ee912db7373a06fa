# SPDX-License-Identifier: Apache-2.0
"""Several agents are asked the same: who has answered, who too late, and who has not."""

import asyncio
from functools import partial

import pytest

from mcp_agentbus.errors import BadInput
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.patterns.gather import gather


async def answer(session, status="completed", **details):
    """Do the one task that comes."""
    [item] = (await watch_inbox(session)).tasks
    await publish_result(session, item.task.id, status, **details)


def states(missing):
    """Return who has not answered, and what became of it."""
    return [(each.receipt.to, each.record and each.record.state) for each in missing]


async def test_it_returns_once_enough_have_answered_and_names_who_has_not(world):
    planner = await world.session("planner")
    workers = [await world.session(name) for name in ("first", "second", "third")]
    names = [worker.me.id for worker in workers]
    async with asyncio.TaskGroup() as group:
        gathering = group.create_task(
            gather(planner, names, "Review", "All of it", quorum=1, within_s=60, request_id="one")
        )
        await answer(workers[1], "failed", summary="no room")
        await answer(workers[2], summary="looks good")
        gathered = await gathering

    assert gathered.enough
    assert [(record.agent, record.summary) for record in gathered.answers] == [
        (names[2], "looks good")
    ]
    assert states(gathered.missing) == [(names[0], None), (names[1], "failed")]
    assert gathered.late == ()

    await answer(workers[0], summary="after all")
    again = await gather(
        planner, names, "Review", "All of it", quorum=2, within_s=60, request_id="one"
    )
    assert [record.agent for record in again.answers] == [names[0], names[2]]


async def test_what_comes_after_the_deadline_is_late_and_is_no_answer(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    ask = (planner, coder.me.id, "Review", "All of it")
    async with asyncio.TaskGroup() as group:
        gathering = group.create_task(gather(*ask, within_s=1, request_id="two"))
        [item] = (await watch_inbox(coder)).tasks
        gathered = await gathering
    assert not gathered.enough
    [missing] = gathered.missing
    assert missing.receipt.task_id == item.task.id

    await publish_result(coder, item.task.id, "completed", summary="at last")
    again = await gather(*ask, within_s=1, request_id="two")
    assert [(record.summary, record.late) for record in again.late] == [("at last", True)]
    assert (again.answers, again.missing, again.enough) == ((), (), False)


async def test_it_waits_no_longer_than_enough_can_still_come(world):
    planner = await world.session("planner")
    workers = [await world.session(name) for name in ("first", "second")]
    async with asyncio.TaskGroup() as group:
        names = [worker.me.id for worker in workers]
        gathering = group.create_task(gather(planner, names, "Review", "All", within_s=600))
        await answer(workers[0], "rejected", summary="not mine")
        gathered = await gathering

    assert (gathered.enough, gathered.quorum, gathered.answers) == (False, 2, ())


async def test_a_question_ends_the_waiting_and_once_it_is_answered_it_goes_on(world):
    planner = await world.session("planner")
    workers = [await world.session(name) for name in ("first", "second")]
    names = [worker.me.id for worker in workers]
    ask = partial(gather, planner, names, "Review", "All", within_s=600, request_id="three")
    async with asyncio.TaskGroup() as group:
        gathering = group.create_task(ask())
        [item] = (await watch_inbox(workers[0])).tasks
        await publish_result(workers[0], item.task.id, "needs_input", summary="which branch?")
        gathered = await gathering
    assert states(gathered.missing) == [(names[0], "needs_input"), (names[1], None)]

    await publish_result(planner, item.task.id, "answered", body="main")
    async with asyncio.TaskGroup() as group:
        gathering = group.create_task(ask())
        await answer(workers[1], summary="looks good")
        await publish_result(workers[0], item.task.id, "completed", summary="looks good")
        gathered = await gathering
    assert [record.agent for record in gathered.answers] == names
    assert gathered.enough


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"quorum": 0}, "quorum is 0"),
        ({"quorum": 3}, "3 answers are wanted of 2"),
        ({"within_s": 0}, "within_s is 0"),
        ({"within_s": -1}, "within_s is -1"),
        ({"expires_in_s": 60}, "as within_s"),
        ({"expect": "nothing"}, "waits for answers"),
    ],
)
async def test_what_cannot_be_gathered_is_refused_before_anything_is_sent(world, given, said):
    planner, coder = await world.session("planner"), await world.session("coder")

    with pytest.raises(BadInput, match=said):
        await gather(planner, [coder.me.id, planner.me.id], "Review", "All", **given)

    assert (await read_inbox(coder)).empty
