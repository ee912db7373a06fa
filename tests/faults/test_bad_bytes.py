# SPDX-License-Identifier: Apache-2.0
"""Anything may stand on the bus: it is parked with a reason, and keeps nobody from reading."""

import asyncio
import json
from datetime import timedelta

import pytest
from rawclient import store

from mcp_agentbus.core import text
from mcp_agentbus.core.text import now
from mcp_agentbus.errors import AlreadyEnded, UnknownTask
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.parked import parking, replay
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import codec, subjects
from mcp_agentbus.store.records import read_record
from mcp_agentbus.store.task import ATTEMPTS_MAX

HANG_S = 60  # only a hang takes as long
GOOD = b'{"type":"task.request","id":"x1","payload":{"content":"hello"}}'
HEADERS = b"NATS/1.0\r\n"

# What is stored, the reason why it is no task, and a name for the test.
BAD_BODIES = [
    (b"", "not JSON"),
    (b"hello", "not JSON"),
    (b"\xff\xfe\x00", "not JSON"),
    (b"\x00" * 1000, "not JSON"),
    (b"[1,2]", "not a JSON object"),
    (b"null", "not a JSON object"),
    (b"[" * 100_000, "not JSON"),
    (b'{"a":' * 40 + b"1" + b"}" * 40, "nested too deeply"),
    (b'{"type":"task.result"}', "not task.request"),
    (b'{"type":"task.request","id":"x1"}', "no payload.content"),
    (b'{"payload":{"content":7},"id":"x1"}', "no payload.content"),
    (b'{"payload":{"content":"x"}}', "no usable id"),
    (b'{"payload":{"content":"x"},"id":"../../etc"}', "no usable id"),
    (b'{"payload":{"content":"x"},"id":"a.b"}', "no usable id"),
    (b'{"payload":{"content":"x"},"id":"*"}', "no usable id"),
    (b'{"payload":{"content":"' + b"x" * 65_537 + b'"},"id":"x1"}', "over 65,536 bytes"),
]
# Who sent it, according to its subject, and a block of headers as it is.
BAD_ENVELOPES = [
    (b"\xff\xfe", b"", "names no sender"),
    ("ü".encode(), b"", "names no sender"),
    (b"Planner", b"", "names no sender"),
    (b"all", b"", "names no sender"),
    (b"role-x", b"", "names no sender"),
    (b"p" * 200, b"", "names no sender"),
    (b"a\x0bb", b"", "names no sender"),
    (b"a\x0cb", HEADERS + b"\r\n", "names no sender"),
    (b"planner", HEADERS + b"Agentbus-Task: \xff\xfe\r\n\r\n", "no usable id"),
    (b"planner", HEADERS + b"Agentbus-Task: a b\r\n\r\n", "no usable id"),
    (b"planner", HEADERS + b"X-Trace/Id: 1\r\nAgentbus-Task: a b\r\n\r\n", "no usable id"),
]
# Strange, and a task all the same.
ODD_ENVELOPES = [
    b"abcd",
    b"NATS/1.0",
    HEADERS + b"\r\n",
    HEADERS + b"garbage\r\n\r\n",
    HEADERS + b"a: b",
    HEADERS + b"Status: 404\r\n\r\n",
    HEADERS + b"Status: 503\r\n\r\n",
    HEADERS + b"Agentbus-Hops: many\r\nAgentbus-Chain: ,,;\r\n\r\n",
    HEADERS + b"Agentbus-Task: x1\r\nAgentbus-Task: x1\r\n\r\n",
    b"NATS/1.0 404\r\n\r\n",
    b"NATS/1.0 503\r\n\r\n",
    b"NATS/1.0 \xff\xff\xff desc\xff\r\n\r\n",
]


def subject_of(coder, sender=b"planner"):
    return b"agentbus." + coder.me.id.encode() + b".tasks.normal." + sender


async def assert_parked(world, coder, reason):
    """See that reading says what was parked, shows the next task, and does so once."""
    planner = await world.session("planner")
    [following] = await send_task(planner, coder.me.id, "Next", "x")

    async with asyncio.timeout(HANG_S):
        read = await watch_inbox(coder, timeout_s=HANG_S)
        again = await read_inbox(coder)

    assert [item.task.id for item in read.tasks] == [following.task_id]
    assert len(read.notes) == 1
    assert reason in read.notes[0]
    assert "agentbus parked" in read.notes[0]
    assert again.notes == ()
    [kept] = await parking.parked(world.bus, coder.me.id)
    assert reason in kept.reason
    assert kept.task is None
    return kept


@pytest.mark.promise(16)
@pytest.mark.parametrize(
    ("data", "reason"), BAD_BODIES, ids=[f"{data[:12]!r}-{len(data)}" for data, _ in BAD_BODIES]
)
async def test_bytes_that_are_no_task_are_parked_and_delay_nobody(world, data, reason):
    coder = await world.session("coder")
    await store(world.bus.settings, subject_of(coder), data)

    kept = await assert_parked(world, coder, reason)

    assert (kept.size, kept.sender) == (len(data), "planner")


@pytest.mark.promise(16)
@pytest.mark.promise(38)
@pytest.mark.parametrize(
    ("sender", "headers", "reason"),
    BAD_ENVELOPES,
    ids=[f"{sender[:12]!r}-{headers!r}" for sender, headers, _ in BAD_ENVELOPES],
)
async def test_a_subject_or_header_that_cannot_be_is_parked(world, sender, headers, reason):
    coder = await world.session("coder")
    await store(world.bus.settings, subject_of(coder, sender), GOOD, headers)

    await assert_parked(world, coder, reason)
    assert world.bus.connections == 1  # else each offer of it would end one


@pytest.mark.promise(16)
@pytest.mark.promise(17)
@pytest.mark.parametrize("headers", ODD_ENVELOPES, ids=repr)
async def test_a_task_under_odd_headers_is_read_and_so_is_the_next(world, headers):
    """A header that looks like a status of the server's must not end the reading."""
    planner, coder = await world.session("planner"), await world.session("coder")
    await store(world.bus.settings, subject_of(coder), GOOD, headers)
    [following] = await send_task(planner, coder.me.id, "Next", "x")

    read = await read_inbox(coder)

    assert [item.task.id for item in read.tasks] == ["x1", following.task_id]
    assert (await publish_result(coder, "x1", "completed")).state == "completed"


@pytest.mark.promise(16)
async def test_one_bad_message_among_many_good_ones_costs_none_of_them(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    sent = []
    for number in range(12):
        sent += [(await send_task(planner, coder.me.id, f"{number}", "x"))[0].task_id]
        await store(world.bus.settings, subject_of(coder), b"rubbish %d" % number)

    read, notes = [], []
    while not (found := await watch_inbox(coder, timeout_s=0, limit=5)).timed_out:
        read += [item.task.id for item in found.tasks]
        notes += found.notes

    assert read == sent
    assert len(notes) == 12
    assert len(await parking.parked(world.bus, coder.me.id)) == 12


@pytest.mark.promise(16)
async def test_the_sender_of_bytes_that_cannot_be_read_is_told_if_they_name_the_task(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    sender = planner.me.id.encode()
    task = f"Agentbus-Task: lost-{coder.id}\r\n\r\n".encode()
    await store(world.bus.settings, subject_of(coder, sender), b"{", HEADERS + task)

    await read_inbox(coder)

    [result] = (await watch_inbox(planner, timeout_s=HANG_S)).results
    assert (result.task_id, result.state) == (f"lost-{coder.id}", "parked")
    assert "not JSON" in result.reason


@pytest.mark.promise(17)
async def test_a_newer_senders_task_is_shown_and_what_it_adds_is_kept_in_the_stored_bytes(world):
    coder = await world.session("coder")
    newer = {
        "v": 7,
        "type": "task.request",
        "id": "n1",
        "subject": "From the future",
        "priority": "urgent",
        "notify": "telepathy",
        "mood": {"colour": "blue"},
        "payload": {"content": "hello", "more": [1]},
    }
    data = json.dumps(newer).encode()
    seq = await store(world.bus.settings, subject_of(coder), data)

    [item] = (await read_inbox(coder)).tasks

    assert (item.task.priority, item.task.priority_given) == ("normal", "urgent")
    assert (item.task.notify, item.task.notify_given) == ("live", "telepathy")
    [stored] = await world.bus.many(subjects.TASKS, {"seq": seq, "batch": 1})
    assert stored.data == data


@pytest.mark.promise(38)
async def test_a_task_that_another_scheduled_in_the_senders_name_is_parked(world):
    """Who may schedule may name any target, hence any sender; the server says who it was."""
    planner, coder = await world.session("planner"), await world.session("coder")
    at = text.stamp(now() - timedelta(seconds=1))
    due = subjects.due_subject(coder.me.id, "high", planner.me.id)
    mine = subjects.scheduled_subject(coder.me.id, "high", "mallory", "forged")
    schedule = f"Nats-Schedule: @at {at}\r\nNats-Schedule-Target: {due}\r\n\r\n".encode()
    await store(world.bus.settings, mine.encode(), GOOD, HEADERS + schedule)

    read = await watch_inbox(coder, timeout_s=HANG_S)

    assert read.tasks == ()
    assert "scheduled by another than its sender" in read.notes[0]
    [kept] = await parking.parked(world.bus, coder.me.id)
    assert kept.reason.endswith("it was scheduled by another than its sender")


@pytest.mark.promise(18)
async def test_a_task_claimed_five_times_is_parked_told_and_offered_again_on_request(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Too hard", "x")
    for attempt in range(1, ATTEMPTS_MAX + 1):
        [item] = (await read_inbox(coder)).tasks
        assert item.attempt == attempt
        await publish_result(coder, sent.task_id, "released")

    found = await read_inbox(coder)

    assert found.tasks == ()
    assert "claimed 5 times without an end" in found.notes[0]
    [told] = (await watch_inbox(planner, timeout_s=HANG_S)).results
    assert (told.task_id, told.state) == (sent.task_id, "parked")
    assert "claimed 5 times" in told.reason
    with pytest.raises(AlreadyEnded):
        await publish_result(planner, sent.task_id, "cancelled")

    with pytest.raises(UnknownTask, match=f"but one is for {coder.me.id}") as refused:
        await replay.replay(world.bus, [planner.me.id], sent.task_id[:8])
    assert refused.value.hint == f"A session of {coder.me.id} can replay it."
    await replay.replay(world.bus, [coder.me.id], sent.task_id[:8])
    [item] = (await watch_inbox(coder, timeout_s=HANG_S)).tasks
    await publish_result(coder, sent.task_id, "completed")

    assert (item.task.id, item.attempt) == (sent.task_id, 1)
    assert await parking.parked(world.bus, coder.me.id) == []
    [told] = (await watch_inbox(planner, timeout_s=HANG_S)).results
    assert (told.task_id, told.state) == (sent.task_id, "completed")


@pytest.mark.promise(18)
async def test_what_cannot_be_read_is_parked_again_when_it_is_offered_again(world):
    coder = await world.session("coder")
    await store(world.bus.settings, subject_of(coder), b"rubbish")
    await read_inbox(coder)
    [kept] = await parking.parked(world.bus, coder.me.id)

    await replay.replay(world.bus, [coder.me.id], str(kept.number))
    found = await watch_inbox(coder, timeout_s=HANG_S)

    assert len(found.notes) == 1
    [again] = await parking.parked(world.bus, coder.me.id)
    assert again.number > kept.number
    with pytest.raises(UnknownTask):
        await replay.replay(world.bus, [coder.me.id], str(kept.number))


RUBBISH = [b"", b"rubbish", b"\xff\xfe", b"[]", b'{"type":"task.request"}', b'{"state":{}}']


@pytest.mark.promise(16)
@pytest.mark.parametrize("data", RUBBISH)
async def test_rubbish_instead_of_a_workers_record_does_not_break_anything(world, data):
    """Neither side stops over it, other results are shown, and the task can still be done."""
    planner, coder = await world.session("planner"), await world.session("coder")
    [hurt] = await send_task(planner, coder.me.id, "Hurt", "x")
    [well] = await send_task(planner, coder.me.id, "Well", "x")
    record = subjects.record_subject(planner.me.id, coder.me.id, hurt.task_id)
    await store(world.bus.settings, record.encode(), data)

    assert (await watch_inbox(planner, task_id=hurt.task_id, timeout_s=0)).timed_out
    taken = await read_inbox(coder)
    await store(world.bus.settings, record.encode(), data)
    assert len((await read_inbox(coder)).tasks) == 2
    for task_id in (hurt.task_id, well.task_id):
        await publish_result(coder, task_id, "completed")
    shown = []
    while len(shown) < 2:
        shown += [one.task_id for one in (await watch_inbox(planner, timeout_s=HANG_S)).results]

    assert [item.task.id for item in taken.tasks] == [hurt.task_id, well.task_id]
    assert sorted(shown) == sorted([hurt.task_id, well.task_id])
    assert (await read_inbox(planner)).results == ()


@pytest.mark.promise(16)
@pytest.mark.parametrize("data", RUBBISH)
async def test_rubbish_instead_of_a_senders_record_does_not_break_anything(world, data):
    planner, coder = await world.session("planner"), await world.session("coder")
    [hurt] = await send_task(planner, coder.me.id, "Hurt", "x")
    [well] = await send_task(planner, coder.me.id, "Well", "x")
    sent = subjects.sent_subject(planner.me.id, coder.me.id, hurt.task_id)
    await store(world.bus.settings, sent.encode(), data)

    for item in (await read_inbox(coder)).tasks:
        await publish_result(coder, item.task.id, "completed")
    shown = []
    while len(shown) < 2:
        shown += [one.task_id for one in (await watch_inbox(planner, timeout_s=HANG_S)).results]

    assert sorted(shown) == sorted([hurt.task_id, well.task_id])
    assert (await read_inbox(planner)).results == ()


@pytest.mark.promise(38)
async def test_a_stored_record_under_a_status_header_is_still_found(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    [sent] = await send_task(planner, coder.me.id, "Do it", "x")
    await read_inbox(coder)
    record, revision = await read_record(world.bus, planner.me.id, coder.me.id, sent.task_id)
    subject = subjects.record_subject(planner.me.id, coder.me.id, sent.task_id)

    forged = HEADERS + b"Status: 404\r\n\r\n"
    data = codec.encode_record(record)
    seq = await store(world.bus.settings, subject.encode(), data, forged)

    found, found_at = await read_record(world.bus, planner.me.id, coder.me.id, sent.task_id)
    assert (found, found_at) == (record, seq)
    assert seq > revision
