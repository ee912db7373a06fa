# SPDX-License-Identifier: Apache-2.0
"""A record is changed by who knows what stands; whoever comes second decides anew."""

from datetime import UTC, datetime

import pytest
from messages import RECORD, RECORD_SUBJECT, SENT, SENT_SUBJECT
from strategies import spelt

from mcp_agentbus.bus.replies import Conflict, Found, Message
from mcp_agentbus.store import records
from mcp_agentbus.store.records import Key, Written
from mcp_agentbus.store.steps import Write
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
