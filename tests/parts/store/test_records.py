# SPDX-License-Identifier: Apache-2.0
"""A record is changed by who knows what stands; whoever comes second decides anew."""

from datetime import UTC, datetime

import pytest
from messages import RECORD, RECORD_SUBJECT, SENT, SENT_SUBJECT, read_record, read_sent
from strategies import spelt

from mcp_agentbus.bus.replies import Conflict, Found, Message
from mcp_agentbus.errors import TooLarge
from mcp_agentbus.store import records
from mcp_agentbus.store.records import OPEN_MAX_BYTES, Key, Written
from mcp_agentbus.store.steps import Lost, Write
from mcp_agentbus.store.task import Moment, Undecodable

AT = datetime(2026, 5, 18, 10, 0, tzinfo=UTC)


def _number(message):
    if not message.data.isdigit():
        raise Undecodable("it is no number")
    return int(message.data)


NUMBER = Key("STREAM", "a.number", _number, lambda value: str(value).encode())


class OneRecord:
    """A bus with one record on it, which others may write between a reading and a writing."""

    def __init__(self, data=None, others=()):
        self.data, self.revision = data, 7 if data else 0
        self._others = list(others)
        self.reads = 0

    async def last(self, stream, subject):
        self.reads += 1
        return self.data and Found(subject, self.revision, AT, {}, self.data)

    async def replace(self, stream, subject, data, revision):
        if self._others:
            self.data, self.revision = self._others.pop(0), self.revision + 1
        if revision != self.revision:
            raise Conflict
        self.data, self.revision = data, revision + 1
        return self.revision


def increased(found):
    """Count on from what stands, to 10 at most."""
    found = found or 0
    return Write(found + 1) if found < 10 else "enough"


@pytest.mark.parametrize(
    ("data", "outcome"),
    [
        (None, Written(1, 1)),
        (b"4", Written(5, 8)),
        (b"not a number", Written(1, 8)),
        (b"10", "enough"),
    ],
)
async def test_an_update_writes_what_is_made_of_what_stands(data, outcome):
    assert await records.update(OneRecord(data), NUMBER, increased) == outcome


async def test_an_update_that_comes_second_is_made_of_what_the_first_wrote():
    bus = OneRecord(b"4", others=[b"6", b"8"])

    assert await records.update(bus, NUMBER, increased) == Written(9, 10)
    assert bus.data == b"9"


async def test_an_update_that_comes_second_may_find_that_nothing_is_left_to_write():
    bus = OneRecord(b"4", others=[b"10"])

    assert await records.update(bus, NUMBER, increased) == "enough"
    assert bus.data == b"10"


async def test_a_record_that_its_writer_has_is_not_read():
    bus = OneRecord(b"4")

    assert await records.update(bus, NUMBER, increased, known=(4, 7)) == Written(5, 8)
    assert bus.reads == 0


async def test_a_record_that_its_writer_had_is_read_once_another_has_written():
    bus = OneRecord(b"4", others=[b"6"])

    assert await records.update(bus, NUMBER, increased, known=(4, 7)) == Written(7, 9)


async def test_a_wake_that_says_the_same_again_is_not_written_again():
    bus = OneRecord()
    held = Moment(state="wake-held", at=AT, by="coder", reason="quiet hours")
    await records.add_wake(bus, "planner", "coder", "t1", held)
    again = held.model_copy(update={"at": AT.replace(hour=11)})

    await records.add_wake(bus, "planner", "coder", "t1", again)
    await records.add_wake(bus, "planner", "coder", "t1", held.model_copy(update={"by": "other"}))

    assert bus.revision == 2


def test_a_record_is_read_out_of_whatever_carries_it():
    data = spelt(RECORD)

    assert records.record_in(Message(RECORD_SUBJECT, data)).task_id == "t1"
    assert records.record_in(Found(RECORD_SUBJECT, 1, AT, {}, data)).state == "working"
    assert records.sent_in(Message(SENT_SUBJECT, spelt(SENT))).owner == "planner"


@pytest.mark.parametrize("read", [records.record_in, records.sent_in])
def test_a_message_that_is_no_record_has_none_in_it(read):
    assert read(Message(RECORD_SUBJECT, b"\x00")) is None


@pytest.mark.parametrize(
    ("state", "over", "is_there"),
    [("stored", 0, True), ("stored", 1, False), ("working", 1, False), ("completed", 1, True)],
)
def test_a_record_that_goes_on_and_leaves_no_room_for_its_next_step_counts_as_none(
    state, over, is_there
):
    least = len(spelt({**RECORD, "state": state, "result": ""}))
    filled = {**RECORD, "state": state, "result": "x" * (OPEN_MAX_BYTES + over - least)}
    data = spelt(filled)
    assert len(data) == OPEN_MAX_BYTES + over

    assert (records.record_in(Message(RECORD_SUBJECT, data)) is not None) is is_there


@pytest.mark.parametrize("key", [records.sent_key, records.wakes_key])
def test_what_else_is_kept_and_can_be_written_no_more_counts_as_none(key):
    place = key("planner", "coder", "t1")
    kept = {**SENT, "newer": ""}
    for size, is_there in ((1_044_480, True), (1_044_481, False)):
        data = spelt({**kept, "newer": "x" * (size - len(spelt(kept)))})
        stored = Found(place.subject, 1, AT, {}, data)

        assert (records.latest([stored], place.subject.split(".")[2]) is not None) is is_there


@pytest.mark.parametrize("state", ["working", "completed"])
def test_a_step_whose_record_would_leave_no_room_for_the_next_is_refused_and_an_end_is_not(state):
    written = Write(read_record(state=state, result="\x01" * (OPEN_MAX_BYTES // 6)))

    if state == "completed":
        assert records.with_room(written) == written
    else:
        with pytest.raises(TooLarge, match="leaves no room"):
            records.with_room(written)
    assert records.with_room(lost := Lost(written.value)) == lost


class SentRecords:
    """A bus on which a sender has written records under one task's id, the latest last."""

    def __init__(self, *kept):
        self._found = [
            Found(f"agentbus.planner.sent.{inbox}.t1", seq, AT, {}, spelt({**SENT, **fields}))
            for seq, (inbox, fields) in enumerate(kept, 1)
        ]

    async def many(self, stream, asked):
        return self._found

    async def last(self, stream, subject):
        return next(each for each in reversed(self._found) if each.subject == subject)


async def test_of_several_records_under_a_tasks_id_the_one_who_has_sent_it_counts():
    bus = SentRecords(("coder", {}), ("stranger", {"unasked": True}))

    sent, revision = await records.read_kept(bus, "planner", "*", "t1")

    assert (sent.inbox, revision) == ("coder", 1)


async def test_what_cannot_be_read_in_an_inbox_has_a_revision_by_which_it_is_replaced():
    bus = SentRecords(("coder", {"created_at": "never"}))

    assert await records.read_kept(bus, "planner", "coder", "t1") == (None, 1)


async def test_what_its_owner_has_asked_for_is_no_copy_of_anothers_whatever_its_worker_says():
    record = read_record(asked_by="lead")

    assert (await records.as_asked(None, record, read_sent())).asked_by == ""
