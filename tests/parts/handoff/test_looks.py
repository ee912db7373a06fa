# SPDX-License-Identifier: Apache-2.0
"""A look at what waits goes on where the one before has ended, and takes nothing."""

import pytest

from mcp_agentbus.errors import BadInput
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store.records import read_record, write_record
from mcp_agentbus.store.steps import step


async def sent(planner, coder, *names, **options):
    return [
        (await send_task(planner, coder.me.id, name, "x", **options))[0].task_id for name in names
    ]


async def test_looks_of_one_task_each_show_every_task_of_every_lane_once_and_in_order(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    for lane in ("low", "normal", "high"):
        await sent(planner, coder, f"{lane} 1", f"{lane} 2", priority=lane)

    looks, cursor = [], None
    for _ in range(7):
        looks.append(await read_inbox(coder, limit=1, peek=True, cursor=cursor))
        if not (cursor := looks[-1].next_cursor):
            break

    assert [item.task.subject for look in looks for item in look.tasks] == [
        "high 1", "high 2", "normal 1", "normal 2", "low 1", "low 2",
    ]  # fmt: skip
    assert all(look.peeked and not look.notes and look.held == 0 for look in looks)
    assert looks[0].waiting == {"high": 2, "normal": 2, "low": 2}
    assert list(coder.claims) == []


@pytest.mark.parametrize(
    "cursor",
    [
        "", "peek", "peek-1", "peek-1-", "peek--1", "peek-x-1", "peek-1-x", "claim-1-1",
        "peek-1-" + 23 * "1",
    ],
)  # fmt: skip
async def test_what_is_no_cursor_of_a_look_is_refused(world, cursor):
    coder = await world.session("coder", known=False)

    with pytest.raises(BadInput, match="not one of a peek"):
        await read_inbox(coder, peek=True, cursor=cursor)


async def test_a_look_beyond_the_last_lane_is_at_its_end(world):
    coder = await world.session("coder")

    look = await read_inbox(coder, peek=True, cursor=f"peek-9-{20 * '9'}")

    assert (look.tasks, look.next_cursor) == ((), None)


async def test_a_look_at_a_conversation_shows_what_is_held_and_what_waits_of_it_and_no_other(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    other = await world.session("coder")
    [held] = await sent(planner, coder, "held", thread_id="release-7")
    await read_inbox(coder)
    [theirs] = await sent(planner, coder, "theirs", thread_id="release-7")
    await read_inbox(other)
    [waits] = await sent(planner, coder, "waits", thread_id="release-7")
    await sent(planner, coder, "another")

    look = await read_inbox(coder, thread_id="release-7")
    all_of_it = await read_inbox(coder, peek=True)

    assert [(item.task.id, item.state, item.attempt, item.holder) for item in look.tasks] == [
        (held, "claimed", 1, ""),
        (theirs, "claimed", 0, f"{coder.me.id}/{other.id}"),
        (waits, "stored", 0, ""),
    ]
    assert (look.peeked, look.thread_id, look.held) == (True, "release-7", 1)
    assert [item.task.id for item in all_of_it.tasks][:3] == [held, theirs, waits]
    assert (all_of_it.thread_id, len(all_of_it.tasks), all_of_it.held) == (None, 4, 1)
    assert (look.waiting, look.held_elsewhere) == ({"normal": 2}, 1)


async def test_what_a_session_wrote_itself_and_nobody_confirmed_it_goes_on_from(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    [task_id] = await sent(planner, coder, "Do it")
    await read_inbox(coder)
    claim = coder.claims[task_id]
    working = step(claim.record, "working", coder.me.id, coder.id, claim.record.updated_at)
    revision = await write_record(world.bus, working, claim.revision)

    [item] = (await read_inbox(coder)).tasks

    record, _ = await read_record(world.bus, planner.me.id, coder.me.id, task_id)
    assert (item.state, coder.claims[task_id].record) == ("working", record)
    assert coder.claims[task_id].revision == revision
