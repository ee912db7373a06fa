# SPDX-License-Identifier: Apache-2.0
"""How far the archive has read a bus that goes away in the middle, and what others read meanwhile."""

from datetime import timedelta

import pytest
from exact_server import ExactServer
from planners_task import SENT
from server_stand_in import NOON

from mcp_agentbus.archive import catch_up as module
from mcp_agentbus.archive.catch_up import Extent, catch_up
from mcp_agentbus.archive.entries import change_in
from mcp_agentbus.archive.file import Archive, Reached
from mcp_agentbus.bus.replies import Found
from mcp_agentbus.config.settings import Keeps
from mcp_agentbus.errors import BusUnreachable
from mcp_agentbus.store import codec
from mcp_agentbus.store.task import Answer

ALL, MADE = "agentbus.*.*.*.*", "2026-11-01T00:00:00Z"
PAGE = 3


class Bus(ExactServer):
    """A bus with as many records as it is told, which goes away after some pages of them."""

    def __init__(self, records=0):
        super().__init__()
        self.pages_left = None
        #: So many of the last records are not yet at the replica that is asked.
        self.behind = 0
        self.add(records)

    def add(self, count):
        for seq in range(len(self.messages) + 1, len(self.messages) + 1 + count):
            sent = SENT.model_copy(update={"task_id": f"t{seq:05d}", "thread_id": "t"})
            at = NOON + timedelta(seconds=seq)
            subject = f"agentbus.planner.sent.coder.{sent.task_id}"
            self.messages.append(Found(subject, seq, at, {}, codec.encode_sent(sent)))
        state = {"first_seq": 1, "last_seq": len(self.messages)}
        self.infos["AGENTBUS_RESULTS"] = {"created": MADE, "state": state}

    async def stored(self, *asked, **how):
        there = len(self.messages) - self.behind
        async for whole in super().stored(*asked, **how):
            page = [message for message in whole if message.seq <= there]
            if self.pages_left is not None:
                if not self.pages_left:
                    raise BusUnreachable
                self.pages_left -= 1
            yield page


@pytest.fixture
def archive(monkeypatch):
    monkeypatch.setattr(module, "_PAGE", PAGE)
    with Archive(None, Keeps(days=3650)) as archive:
        yield archive


def known(archive):
    return [row["id"] for row in archive.rows("SELECT id FROM tasks ORDER BY id")]


def ids(count):
    return [f"t{number:05d}" for number in range(1, count + 1)]


@pytest.mark.parametrize("begun", [0, 4])
@pytest.mark.parametrize("pages", [0, 1, 2, 3])
async def test_what_a_bus_that_went_away_had_not_told_is_read_by_the_next_call(
    archive, pages, begun
):
    """What was noted with the first page was that all had been read: the rest never was."""
    bus = Bus(begun)
    await catch_up(bus, archive, ["*"])
    bus.add(2 * PAGE + 1)
    bus.pages_left = pages
    if pages < 3:
        with pytest.raises(BusUnreachable):
            await catch_up(bus, archive, ["*"])
        assert len(known(archive)) < len(bus.messages)
    bus.pages_left = None

    assert await catch_up(bus, archive, ["*"]) == Extent()
    assert known(archive) == ids(len(bus.messages))
    assert archive.reached(MADE, ALL) == Reached(ALL, 1, len(bus.messages) + 1)


@pytest.mark.parametrize("begun", [0, 1, PAGE, 2 * PAGE])
async def test_what_a_replica_has_not_yet_is_read_by_the_next_call(archive, begun):
    """Its leader had told how far to read: what was stored a moment before never was."""
    bus = Bus(begun)
    for added in (0, 1, 1):
        bus.add(added)
        bus.behind = min(1, len(bus.messages))
        assert await catch_up(bus, archive, ["*"]) == Extent()
    bus.behind = 0
    await catch_up(bus, archive, ["*"])

    assert known(archive) == ids(begun + 2)


@pytest.mark.parametrize("count", [PAGE - 1, PAGE, PAGE + 1])
async def test_what_was_read_is_not_read_again(archive, count):
    bus = Bus()
    await catch_up(bus, archive, ["*"])
    bus.add(count)
    await catch_up(bus, archive, ["*"])
    bus.asked.clear()
    await catch_up(bus, archive, ["*"])

    assert bus.asked[1:] == [("AGENTBUS_RESULTS", ALL, count + 1, PAGE)]


async def test_a_test_of_the_bus_is_no_history(archive):
    """Its records are taken off the bus again: the archive told of a task that waits for ever."""
    bus = Bus()
    for owner, inbox in (
        ("doctor-1a2b", "doctor-1a2b-worker"), ("doctor-1a2b", "coder"),
        ("doctor-claude", "doctor-cursor"), ("planner", "doctor-1a2b-worker"),
    ):  # fmt: skip
        seq = len(bus.messages) + 1
        sent = SENT.model_copy(update={"owner": owner, "inbox": inbox, "task_id": f"{seq}"})
        subject = f"agentbus.{owner}.sent.{inbox}.{seq}"
        bus.messages.append(Found(subject, seq, NOON, {}, codec.encode_sent(sent)))
    bus.add(0)
    await catch_up(bus, archive, ["*"])

    assert known(archive) == ["2", "3", "4"]


def test_what_lies_between_two_that_read_at_once_counts_as_read_by_neither(archive):
    for low, high in ((500, 500), (600, 620)):
        archive.note([], Reached(ALL, low, high), of=MADE)
    assert archive.reached(MADE, ALL) == Reached(ALL, 500, 500)

    for low, high in ((500, 600), (600, 620), (100, 500), (300, 400)):
        archive.note([], Reached(ALL, low, high), of=MADE)
    assert archive.reached(MADE, ALL) == Reached(ALL, 100, 620)


def test_an_answer_is_kept_whole():
    answers = (Answer(question=NOON, at=NOON, body="x" * 9_000),)
    sent = SENT.model_copy(update={"answers": answers})
    stored = Found(
        f"agentbus.planner.sent.coder.{SENT.task_id}", 1, NOON, {}, codec.encode_sent(sent)
    )

    assert [step.note for step in change_in(stored).steps] == ["", "x" * 9_000]
