# SPDX-License-Identifier: Apache-2.0
"""Whoever has the token may change streams and consumers: tasks come through, or it is said why not.

What was changed is set up anew by whoever begins next, and doctor names what cannot be.
"""

import asyncio
import hashlib
import json

import pytest
from rawclient import Raw
from set_aside import set_aside

from mcp_agentbus.doctor import strangers
from mcp_agentbus.errors import Refused, Unconfirmed
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.parked import parking, replay
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import queues, records, streams, subjects
from mcp_agentbus.store.queries import consumers
from mcp_agentbus.tools.answers import render

_S = 10**9
TO_MALLORY = {
    "src": "agentbus.*.tasks.*.*", "dest": "agentbus.m.tasks.{{wildcard(2)}}.{{wildcard(3)}}",
}  # fmt: skip
HIDDEN = {
    "src": "agentbus.*.sent.*.*",
    "dest": "agentbus.{{wildcard(1)}}.wakes.{{wildcard(2)}}.{{wildcard(3)}}",
}
STREAMS = [
    (subjects.TASKS, {"subject_transform": TO_MALLORY}),
    (subjects.TASKS, {"max_age": _S, "duplicate_window": _S}),
    (subjects.TASKS, {"max_msgs": 1}),
    (subjects.TASKS, {"max_msg_size": 10}),
    (subjects.TASKS, {"no_ack": True}),
    (subjects.TASKS, {"republish": None}),
    (subjects.TASKS, {"sources": None}),
    (subjects.TASKS, {"allow_direct": False}),
    (subjects.TASKS, {"max_consumers": 1}),
    (subjects.RESULTS, {"subject_transform": HIDDEN}),
    (subjects.RESULTS, {"max_age": _S, "duplicate_window": _S}),
    (subjects.RESULTS, {"max_msgs_per_subject": 5}),
    (subjects.RESULTS, {"no_ack": True}),
    (subjects.AGENTS, {"max_age": _S, "duplicate_window": _S}),
    (subjects.PRESENCE, {"allow_rollup_hdrs": True}),
    (subjects.DEAD, {"max_msg_size": 1}),
    (subjects.DEAD, {"duplicate_window": _S}),
    (subjects.AGENTS, {"max_bytes": 1}),
    (subjects.RESULTS, {"retention": "interest"}),
]
CONSUMERS = [
    {"headers_only": True}, {"max_deliver": 1}, {"max_batch": 1}, {"max_bytes": 10},
    {"priority_policy": "overflow", "priority_groups": ["g"]},
    {"pause_until": "2199-01-01T00:00:00Z"},
]  # fmt: skip


async def change(bus, stream, changed):
    config = (await bus.api(f"STREAM.INFO.{stream}"))["config"]
    await bus.api(f"STREAM.UPDATE.{stream}", {**config, **changed})


async def hand_over(planner, coder):
    """Have a task done; return whether all of it went as it should."""
    [sent] = await send_task(planner, coder.me.id, "Count", "x")
    tasks = (await read_inbox(coder, limit=50)).tasks
    [item] = [each for each in tasks if each.task.id == sent.task_id]
    await publish_result(coder, item.task.id, "completed")
    [result] = (await watch_inbox(planner, timeout_s=5, task_id=sent.task_id)).results
    return (item.task.id, item.task.body, result.state) == (sent.task_id, "x", "completed")


@pytest.mark.parametrize(("stream", "changed"), STREAMS, ids=lambda each: str(each)[:40])
async def test_a_changed_stream_is_named_and_set_up_anew_by_the_next_session(
    own_world, stream, changed
):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    await change(planner.bus, stream, changed)
    [named] = [each for each in await strangers.checks(planner.bus.settings) if each.mend]
    assert (named.state, stream in named.said, next(iter(changed)) in named.said) == (
        "wrong", True, True,
    )  # fmt: skip

    await own_world.session("reviewer")

    assert await strangers.checks(planner.bus.settings) == []
    assert await hand_over(planner, coder)


async def test_doctor_sets_a_changed_stream_up_anew_and_it_keeps_what_it_holds(own_world):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    await send_task(planner, coder.me.id, "Before", "x")
    await change(planner.bus, subjects.TASKS, {"subject_transform": TO_MALLORY, "max_bytes": 9**9})

    [named] = await strangers.checks(planner.bus.settings)
    await asyncio.to_thread(named.mend.do)

    assert await strangers.checks(planner.bus.settings) == []
    assert [each.task.subject for each in (await read_inbox(coder)).tasks] == ["Before"]
    config = (await planner.bus.api(f"STREAM.INFO.{subjects.TASKS}"))["config"]
    assert config["max_bytes"] == 9**9  # that is for whoever runs the server


async def test_what_the_server_keeps_as_it_was_changed_doctor_says(own_world):
    planner = await own_world.session("planner")
    await change(planner.bus, subjects.RESULTS, {"sealed": True})
    await streams.ensure_streams(planner.bus)

    [named] = await strangers.checks(planner.bus.settings)
    with pytest.raises(Refused, match="does not let AGENTBUS_RESULTS"):
        await asyncio.to_thread(named.mend.do)
    assert "sealed" in named.said


@pytest.mark.parametrize(("stream", "changed"), [
    (subjects.TASKS, {"max_msgs": 1}),
    (subjects.TASKS, {"max_msg_size": 10}),
    (subjects.RESULTS, {"max_msgs": 1}),
    (subjects.RESULTS, {"max_msg_size": 10}),
    (subjects.RESULTS, {"subjects": ["agentbus.*.results.*.*"]}),
    (subjects.SCHEDULE, {"max_msgs_per_subject": 1, "max_msg_size": 10}),
    (subjects.TASKS, {"no_ack": True}),
    (subjects.RESULTS, {"no_ack": True}),
    (subjects.SCHEDULE, {"no_ack": True}),
    *((stream, {"max_bytes": 1}) for stream in (subjects.TASKS, subjects.RESULTS, subjects.SCHEDULE)),
    (subjects.TASKS, {"deny_delete": True, "deny_purge": True, "max_msg_size": 10}),
], ids=str)  # fmt: skip
async def test_whoever_is_refused_by_a_changed_stream_sets_it_up_anew_within_the_call(
    own_world, stream, changed
):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    await change(planner.bus, stream, changed)

    await send_task(planner, planner.me.id, "Later", "x", deliver_in_s=3600)

    assert await hand_over(planner, coder)


async def test_where_no_limit_is_set_there_is_room_for_what_waits_for_its_time(own_world):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    await change(planner.bus, subjects.SCHEDULE, {"max_bytes": -1})

    [receipt] = await send_task(planner, coder.me.id, "Later", "x", deliver_in_s=600)

    assert receipt.state == "stored"


async def test_several_that_are_refused_at_once_all_wait_until_it_is_set_up_anew(own_world):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    await change(planner.bus, subjects.TASKS, {"max_msg_size": 10})

    await asyncio.gather(*(send_task(planner, coder.me.id, "Count", "x") for _ in range(5)))

    assert len((await read_inbox(coder)).tasks) == 5


@pytest.mark.parametrize("stream", [subjects.TASKS, subjects.RESULTS, subjects.SCHEDULE])
async def test_nothing_is_stored_in_a_stream_in_the_place_of_ours_and_doctor_removes_it(
    own_world, stream
):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    [taken] = [made["subjects"] for made in streams.SETTINGS if made["name"] == stream]
    await planner.bus.api(f"STREAM.DELETE.{stream}")
    await planner.bus.api(
        "STREAM.CREATE.MINE", {"name": "MINE", "subjects": taken, "max_bytes": 9999}
    )

    later = 3600 if stream == subjects.SCHEDULE else None
    if stream == subjects.RESULTS:  # what is kept of a task is written behind its receipt
        await send_task(planner, coder.me.id, "Before", "x")
        await planner.outcomes.sent_records.settled()
    with pytest.raises((Refused, Unconfirmed)) as refused:
        await send_task(planner, coder.me.id, "Count", "x", deliver_in_s=later)
    [named] = await strangers.checks(planner.bus.settings)
    await asyncio.to_thread(named.mend.do)

    assert "in the place of one of agentbus's" in str(refused.value)
    assert "agentbus doctor --fix" in refused.value.hint
    assert "MINE" in named.said
    assert await hand_over(planner, coder)


async def test_what_is_offered_again_stays_parked_where_another_stream_would_take_it(own_world):
    planner, coder, task_id = await set_aside(own_world)
    [taken] = [made["subjects"] for made in streams.SETTINGS if made["name"] == subjects.TASKS]
    await planner.bus.api(f"STREAM.DELETE.{subjects.TASKS}")
    await planner.bus.api(
        "STREAM.CREATE.MINE", {"name": "MINE", "subjects": taken, "max_bytes": 9999}
    )

    with pytest.raises((Refused, Unconfirmed)):
        await replay.replay(planner.bus, [coder.me.id], task_id)

    [parked] = await parking.parked(planner.bus, coder.me.id)
    assert parked.task.id == task_id


async def test_a_copy_of_another_stream_in_the_place_of_ours_is_made_one_of_ours_and_named(
    own_world,
):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    await planner.bus.api(
        "STREAM.CREATE.MINE", {"name": "MINE", "subjects": ["x"], "max_bytes": 9999}
    )
    await planner.bus.api(f"STREAM.DELETE.{subjects.TASKS}")
    await planner.bus.api(f"STREAM.CREATE.{subjects.TASKS}", {
        "name": subjects.TASKS, "mirror": {"name": "MINE"}, "max_bytes": 9999,
    })  # fmt: skip

    assert await hand_over(planner, coder)
    [named] = [each for each in await strangers.checks(planner.bus.settings) if each.mend]
    assert f"{subjects.TASKS} (retention)" in named.said


async def test_who_meets_a_sealed_stream_is_told_what_to_do(own_world):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    await change(planner.bus, subjects.RESULTS, {"sealed": True})
    with pytest.raises(Unconfirmed, match="The task is stored") as half:
        await send_task(planner, coder.me.id, "Count", "x", request_id="r1")
    await send_task(planner, coder.me.id, "Count", "x")
    await planner.outcomes.sent_records.settled()
    with pytest.raises(Refused, match=r"sent before.*has sealed a stream.*Nothing was stored"):
        await send_task(planner, coder.me.id, "Count", "x")
    planner = await own_world.session("planner")
    await change(planner.bus, subjects.TASKS, {"sealed": True})

    with pytest.raises(Refused, match=r"has sealed a stream.*Nothing was stored"):
        await send_task(planner, coder.me.id, "Count", "x")

    assert "has sealed a stream" in half.value.hint
    assert "agentbus doctor --fix" in half.value.hint


async def test_what_a_later_version_has_set_up_stays_until_its_user_says_that_there_is_none(
    own_world, monkeypatch
):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    older = streams.SETTINGS
    monkeypatch.setattr(streams, "LAYOUT", streams.LAYOUT + 1)
    monkeypatch.setattr(streams, "SETTINGS", tuple(
        {**each, "max_age": each.get("max_age", 0) + 3600 * _S} for each in older
    ))  # fmt: skip
    await streams.ensure_streams(planner.bus)  # as a session of that version
    monkeypatch.undo()

    await streams.ensure_streams(coder.bus)  # as one of this version
    [named] = await strangers.checks(planner.bus.settings)
    assert await hand_over(planner, coder)
    await asyncio.to_thread(named.mend.do)

    assert "a later version of agentbus has set up" in named.said
    assert await strangers.checks(planner.bus.settings) == []


def test_the_layout_has_a_new_number_with_each_change_of_the_streams():
    """Where this fails: add one to `streams.LAYOUT`, and write down its streams' hash here."""
    made = json.dumps(streams.SETTINGS, sort_keys=True).encode()

    assert (streams.LAYOUT, hashlib.sha256(made).hexdigest()[:8]) == (2, "dc537b5f")


@pytest.mark.parametrize("changed", CONSUMERS, ids=lambda each: next(iter(each)))
async def test_a_consumer_that_hands_out_less_loses_nothing_and_is_mended_when_it_is_missed(
    own_world, changed
):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    bus, name = planner.bus, subjects.lane_consumer(coder.me.id, "normal")
    where = f"{subjects.TASKS}.{name}"
    config = (await bus.api(f"CONSUMER.INFO.{where}"))["config"]
    await bus.api(f"CONSUMER.DELETE.{where}")
    made = {"stream_name": subjects.TASKS, "config": {**config, **changed}}
    await bus.api(f"CONSUMER.DURABLE.CREATE.{where}", made)
    [named] = await strangers.checks(bus.settings)
    await send_task(planner, coder.me.id, "Count", "x")

    first = await read_inbox(coder)
    read = first if first.tasks else await read_inbox(coder)

    assert name in named.said
    assert [(item.task.subject, item.task.body) for item in read.tasks] == [("Count", "x")]
    assert "1 normal" in render.inbox_text(first, "coder") or first.tasks
    assert "parked" not in str(read.notes)


async def test_a_consumer_that_hands_out_another_lane_hides_nothing_of_many(own_world):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    bus, lane = planner.bus, consumers.lane(coder.me.id, "normal")
    other = subjects.task_subject("nobody", "normal", "*")
    config = (await bus.api(f"CONSUMER.INFO.{lane.stream}.{lane.name}"))["config"]
    made = {"stream_name": lane.stream, "config": {**config, "filter_subject": other}, "action": ""}
    await bus.api(f"CONSUMER.CREATE.{lane.stream}.{lane.name}.{other}", made)
    count = queues.LOOKED_AT_MAX + 1
    for number in range(count):
        await bus.publish(
            subjects.task_subject(coder.me.id, "normal", planner.me.id),
            b'{"id":"abcdef%d","payload":{"content":"x"}}' % number,
        )

    read = await read_inbox(coder)

    assert [item.task.id for item in read.tasks] == [f"abcdef{number}" for number in range(5)]
    assert read.waiting == {"normal": count - 5}


async def test_a_header_that_says_that_a_text_was_left_out_keeps_nobody_reading(own_world):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    lane = subjects.task_subject(coder.me.id, "normal", "mallory").encode()
    async with Raw(planner.bus.settings.data_dir) as raw:
        await raw.ask(lane, b"", b"NATS/1.0\r\nNats-Msg-Size: 7\r\n\r\n")
    await send_task(planner, coder.me.id, "Count", "x")

    read = await read_inbox(coder)

    assert [item.task.subject for item in read.tasks] == ["Count"]
    assert "was parked" in read.notes[0]


async def test_a_record_that_is_always_another_ends_in_a_refusal(own_world, monkeypatch):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Count", "x")
    await read_inbox(coder)
    await change(planner.bus, subjects.RESULTS, {"subject_transform": {
        "src": "agentbus.*.results.*.*",
        "dest": "agentbus.{{wildcard(1)}}.wakes.{{wildcard(2)}}.{{wildcard(3)}}",
    }})  # fmt: skip

    async def never_found(*_):
        return None, 7

    monkeypatch.setattr(records, "read", never_found)

    with pytest.raises(Refused, match="writes the same record again and again"):
        await publish_result(coder, sent.task_id, "completed")
