# SPDX-License-Identifier: Apache-2.0
"""What a session keeps of what it sends goes behind its receipt, and before whatever reads it."""

import asyncio
import gc
import math
import weakref
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from messages import read_task
from server_stand_in import NOON, Server

from mcp_agentbus.bus.replies import Found
from mcp_agentbus.core import text
from mcp_agentbus.core.aio import part
from mcp_agentbus.errors import BusUnreachable, NotAllowed, StoreFull, Unconfirmed
from mcp_agentbus.handoff.dispatch import sent_records
from mcp_agentbus.handoff.dispatch.sent_records import SentRecords
from mcp_agentbus.store import codec, tasks
from mcp_agentbus.store.records import read_record, read_sent
from mcp_agentbus.store.steps import first_record, sent_of, step
from mcp_agentbus.store.subjects import RESULTS, SCHEDULE, TASKS
from mcp_agentbus.store.tasks import Kept
from mcp_agentbus.store.upkeep import lost

SENT = sent_of(read_task()).model_copy(update={"seq": 5})
STORED = Kept(SENT, duplicate=False, since=math.inf)
PLACE = "agentbus.planner.sent.coder.t1"
RECORD_AT = "agentbus.planner.results.coder.t1"
TASK_AT = "agentbus.coder.tasks.normal.planner"
WRITTEN = [(RESULTS, PLACE, 0)]
HANG_S = 60  # only a hang takes as long


class Disk(Server):
    """Takes a record at once, once it is let, or never."""

    def __init__(self):
        super().__init__()
        self.refuses, self.may_go_on = None, asyncio.Event()
        self.may_go_on.set()
        #: What looks for what agents have not kept have found written, and what they say and find.
        self.looks, self.missing, self.found = [], 0, None

    async def replace(self, stream, subject, data, revision):
        await self.may_go_on.wait()
        if self.refuses:
            raise self.refuses
        return await super().replace(stream, subject, data, revision)

    async def written(self):
        """Return what is written by the time that this is begun."""
        return list(self.done)

    async def look(self, agents, pages):
        self.looks.append((agents, pages, list(self.done)))
        if self.found:
            self.messages.append(Found(PLACE, 5, self.at, {}, codec.encode_sent(self.found)))
        return self.missing


@pytest.fixture
def disk(monkeypatch):
    disk = Disk()
    monkeypatch.setattr(sent_records, "Unkept", lambda _: SimpleNamespace(look=disk.look))
    return disk


@pytest.fixture
def planners(disk):
    return SentRecords(disk, "planner")


@pytest.fixture
def later(disk, planners, monkeypatch):
    """Gives the bus and who writes there, on which what is kept follows late, or at once."""

    async def put(*_):
        return await tasks.keep(disk, STORED)

    def made(is_late, made_at):
        monkeypatch.setattr(lost, "_LATE_S", -1 if is_late else math.inf)
        monkeypatch.setattr(lost, "_BEHIND_S", 0)
        created = {"created": text.stamp(made_at or text.now()), "config": {}}
        disk.infos = dict.fromkeys((TASKS, SCHEDULE, RESULTS), created)
        monkeypatch.setattr(tasks, "put", put)
        return disk, planners

    return made


async def test_a_receipt_goes_before_what_is_kept_and_whoever_needs_that_waits_for_it(
    disk, planners
):
    planners.write_behind(STORED)
    at_once = await part(disk.written())
    await planners.settled()

    assert (at_once, disk.done) == ([], WRITTEN)
    assert codec.decode_sent(PLACE, disk.messages[0].data) == SENT


async def test_of_a_disk_that_hangs_nobody_waits_for_long(disk, planners, monkeypatch):
    monkeypatch.setattr(sent_records, "_SETTLED_WITHIN_S", 0.01)
    disk.may_go_on.clear()
    planners.write_behind(STORED)
    async with asyncio.timeout(HANG_S):
        await planners.settled()
    at_last = list(disk.done)
    disk.may_go_on.set()
    async with asyncio.timeout(HANG_S):
        while not disk.done:
            await planners.settled()

    assert (at_last, disk.done) == ([], WRITTEN)


async def test_of_what_is_written_nothing_is_held_any_more(planners):
    before = asyncio.all_tasks()
    planners.write_behind(STORED)
    [held] = [weakref.ref(each) for each in asyncio.all_tasks() - before]
    await planners.settled()
    gc.collect()

    assert held() is None


@pytest.mark.parametrize("writes", [SentRecords.again, SentRecords.see_all_written])
async def test_what_could_not_be_written_is_tried_again_until_it_is(disk, planners, writes):
    disk.refuses = StoreFull()
    planners.write_behind(STORED)
    await planners.settled()
    for _ in range(2):
        with pytest.raises(StoreFull):
            await writes(planners)
    disk.refuses = None
    await writes(planners)
    once = list(disk.done)
    await writes(planners)
    await planners.see_all_written()

    assert (once, disk.done, disk.asked[1:]) == (WRITTEN, WRITTEN, [])


@pytest.mark.parametrize(
    ("fails", "told"),
    [
        (
            StoreFull("The disk is full. Nothing was stored.", hint="Make room."),
            StoreFull(
                "What is kept of a task that was sent before cannot be stored: The disk is full. "
                "Nothing was stored.", hint="Make room.",
            ),
        ),
        (
            NotAllowed("No.", hint="Ask."),
            NotAllowed(
                "What is kept of a task that was sent before cannot be stored: No. Nothing was "
                "stored.", hint="Ask.",
            ),
        ),
        (
            Unconfirmed("It is stored, or not."),
            BusUnreachable(
                "What is kept of a task that was sent before goes first, and the bus server does "
                "not confirm it. Nothing was stored."
            ),
        ),
    ],
)  # fmt: skip
async def test_who_sends_more_is_told_what_of_before_cannot_be_kept(disk, planners, fails, told):
    disk.refuses = fails
    planners.write_behind(STORED)
    await planners.settled()
    with pytest.raises(type(told)) as failed:
        await planners.see_all_written()

    assert (type(failed.value), failed.value.message) == (type(told), told.message)
    assert failed.value.hint == told.hint


async def test_what_is_being_written_is_read_and_not_looked_for(disk, planners):
    planners.write_behind(STORED)

    assert await planners.read("t1") == (SENT, 1)
    assert disk.looks == []


@pytest.mark.parametrize("missing", [0, 2])
async def test_a_look_comes_behind_what_is_being_written_and_says_whether_anything_was_missing(
    disk, planners, missing
):
    disk.missing = missing
    planners.write_behind(STORED)

    assert await planners.look(3) is bool(missing)
    assert disk.looks == [(["planner"], 3, WRITTEN)]


@pytest.mark.parametrize(("missing", "found", "read"), [(1, SENT, (SENT, 5)), (0, None, (None, 0))])
async def test_what_nobody_has_kept_is_looked_for_and_then_read(
    disk, planners, missing, found, read
):
    disk.missing, disk.found = missing, found

    assert await planners.read("t1") == read
    assert disk.looks == [(["planner"], float("inf"), [])]
    assert len(disk.asked) == 1 + missing


async def test_a_look_that_is_tried_leaves_what_it_cannot_do_to_the_next(planners, monkeypatch):
    looked = []

    async def look(*_):
        looked.append(True)
        raise StoreFull

    monkeypatch.setattr(planners, "_unkept", SimpleNamespace(look=look))

    await planners.tried(3)

    assert looked == [True]


DONE = step(first_record(SENT), "completed", "coder", "s", NOON)
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
STORED_TASK = Found(TASK_AT, 5, NOON, {"Agentbus-Task": "t1"}, b"")


async def behind(planners, _):
    planners.write_behind(replace(STORED, since=0))
    await planners.settled()
    await planners.see_all_written()


async def at_once(_, disk):
    assert await sent_records.put(disk, read_task()) == STORED


@pytest.mark.parametrize(
    ("there", "is_late", "made_at", "state"),
    [
        ([], True, None, "failed"),  # as where a backup has taken the place of its bus
        ([], True, LONG_AGO, None),  # so it is only slow
        ([], False, None, None),
        ([STORED_TASK], True, None, None),
        ([Found(RECORD_AT, 5, NOON, {}, codec.encode_record(DONE))], True, None, "completed"),
        # By a try before.
        ([Found(PLACE, 5, NOON, {}, codec.encode_sent(SENT))], True, None, "failed"),
    ],
)
@pytest.mark.parametrize("write", [behind, at_once])
async def test_of_a_task_that_is_gone_before_what_is_kept_of_it_is_written_its_sender_is_told(
    later, write, there, *, is_late, made_at, state
):
    disk, planners = later(is_late, made_at)
    disk.messages += there

    await write(planners, disk)

    record, _ = await read_record(disk, "planner", "coder", "t1")
    assert (record and record.state) == state
    assert (await read_sent(disk, "planner", "coder", "t1"))[0] == SENT


@pytest.mark.parametrize("write", [behind, at_once])
async def test_of_a_task_that_one_server_of_several_has_not_yet_nothing_is_ended(
    later, write, monkeypatch
):
    disk, planners = later(is_late=True, made_at=None)
    looks = [set(), {"t1"}]

    async def there(*_):
        return looks.pop(0)

    monkeypatch.setattr(lost, "_there", there)
    await write(planners, disk)

    assert (looks, await read_record(disk, "planner", "coder", "t1")) == ([], (None, 0))


async def test_of_one_that_is_where_it_was_put_no_other_task_is_read(later):
    """Many that are sent at once on a slow disk are late as a whole."""
    disk, planners = later(is_late=True, made_at=None)
    disk.messages.append(STORED_TASK)

    await behind(planners, disk)

    assert [one for one in disk.asked if one[0] != RESULTS] == [(TASKS, {"seq": 5, "batch": 1})]


async def test_no_more_is_kept_back_by_what_a_server_refuses_to_tell(later):
    disk, planners = later(is_late=True, made_at=None)
    disk.infos[TASKS] = NotAllowed()

    await behind(planners, disk)

    assert disk.done == WRITTEN
