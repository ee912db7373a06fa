# SPDX-License-Identifier: Apache-2.0
"""Whoever fills the store of parked tasks neither pushes out nor hides what others have there."""

from rawclient import Raw

from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.parked import parking
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import queues, streams, subjects
from mcp_agentbus.store.upkeep import room

LARGE = b"x" * (500 << 10)


async def small_store(bus, monkeypatch):
    """Give the stream of parked tasks room for few, and leave it so."""
    monkeypatch.setattr(streams.disk, "MUCH_MORE", 1 << 20)
    config = (await bus.api(f"STREAM.INFO.{subjects.DEAD}"))["config"]
    await bus.api(f"STREAM.UPDATE.{subjects.DEAD}", {**config, "max_bytes": 4 << 20})


async def park_bad(session, sender):
    """Have somebody's message parked that cannot be read; return what its reader is told."""
    await session.bus.publish(subjects.task_subject(session.me.id, "low", sender), b"no task")
    return (await read_inbox(session)).notes


async def senders(session):
    parked = parking.floods_last(await parking.parked(session.bus, session.me.id))
    return list(dict.fromkeys(each.sender for each in parked))


async def test_a_flood_makes_room_for_what_others_have_parked(own_world, monkeypatch):
    monkeypatch.setattr(room, "_FLOOD", 3)
    coder = await own_world.session("coder")
    await small_store(coder.bus, monkeypatch)
    await park_bad(coder, "planner")
    async with Raw(coder.bus.settings.data_dir) as raw:
        for lane in ("high", "low"):
            subject = subjects.dead_subject(coder.me.id, lane, "mallory")
            answers = [await raw.ask(subject.encode(), LARGE) for _ in range(6)]
    assert "error" in answers[-1]

    [told] = await park_bad(coder, "reviewer")

    assert "was parked" in told
    assert await senders(coder) == ["planner", "reviewer", "mallory"]


async def test_where_no_more_can_be_parked_the_inbox_is_read_on_all_the_same(
    own_world, monkeypatch
):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    await small_store(coder.bus, monkeypatch)
    async with Raw(coder.bus.settings.data_dir) as raw:
        for number in range(8):
            subject = subjects.dead_subject(coder.me.id, "low", f"mallory-{number}")
            await raw.ask(subject.encode(), LARGE)
    subject = subjects.task_subject(coder.me.id, "high", "reviewer")
    await coder.bus.publish(subject, b"no task" * 50_000)
    await send_task(planner, coder.me.id, "Count", "x")

    inbox = await read_inbox(coder)

    assert [item.task.subject for item in inbox.tasks] == ["Count"]
    assert "no more can be parked" in inbox.notes[0]
    assert subject in await queues.stored_tasks(coder.bus, subject)


async def test_of_one_sender_a_lanes_latest_stay_parked(own_world):
    coder = await own_world.session("coder")
    subject = subjects.dead_subject(coder.me.id, "low", "mallory").encode()
    async with Raw(coder.bus.settings.data_dir) as raw:
        for _ in range(streams.PARKED_MAX_PER_SENDER + 5):
            assert "error" not in await raw.ask(subject, b"x")
    assert len(await parking.parked(coder.bus, coder.me.id)) == streams.PARKED_MAX_PER_SENDER


async def test_a_store_of_an_older_version_is_bounded_as_well(own_world):
    bus = own_world.bus
    await streams.ensure_streams(bus)
    call = f"STREAM.UPDATE.{subjects.DEAD}"
    config = (await bus.api(f"STREAM.INFO.{subjects.DEAD}"))["config"]
    await bus.api(call, {**config, "discard": "old", "max_msgs_per_subject": -1})

    await streams.ensure_streams(bus)

    config = (await bus.api(f"STREAM.INFO.{subjects.DEAD}"))["config"]
    assert (config["discard"], config["max_msgs_per_subject"]) == (
        "new", streams.PARKED_MAX_PER_SENDER,
    )  # fmt: skip


async def test_a_flood_of_large_ones_ends_no_list_early(own_world):
    coder = await own_world.session("coder")
    async with Raw(coder.bus.settings.data_dir) as raw:
        for _ in range(20):  # many times what the server answers at once
            await raw.ask(subjects.dead_subject(coder.me.id, "low", "mallory").encode(), LARGE)
    await park_bad(coder, "planner")
    assert await senders(coder) == ["planner", "mallory"]
