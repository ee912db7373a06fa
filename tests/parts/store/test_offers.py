# SPDX-License-Identifier: Apache-2.0
"""What was lost on its way to a reader comes before what a lane offers, and nothing twice."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mcp_agentbus.bus.replies import Delivery, HandedOut
from mcp_agentbus.errors import BusUnreachable
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store.queries import consumers, offers, pulls
from mcp_agentbus.store.queries.consumers import ACK_WAIT_S
from mcp_agentbus.store.task import Record

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
LANE = consumers.lane("coder", "normal")


def offer(seq, waiting=7):
    return Delivery("agentbus.coder.tasks.normal.planner", b"", {}, "", "", seq, 1, NOON, waiting)


class Lane:
    """Has lost this and that, and offers the rest."""

    def __init__(self):
        self.lost: list[list[int] | Exception] = []
        self.offers: list[int] | Exception = []
        #: How many were asked for, and which were given back.
        self.asked: list[int] = []
        self.given_back: list[int] = []
        #: How often which of what was lost counts as offered.
        self.offered: dict[int, int] = {}

    async def _lost(self, *_):
        lost = self._or_raised(self.lost.pop(0))
        known = [offer(seq, waiting=3 + seq // 2) for seq in lost]
        return [replace(each, offered=self.offered.get(each.seq, 1)) for each in known]

    async def _pull(self, _, __, batch):
        self.asked.append(batch)
        return [offer(seq) for seq in self._or_raised(self.offers)]

    @staticmethod
    def _or_raised(what):
        if isinstance(what, Exception):
            raise what
        return what

    async def give_back(self, delivery):
        self.given_back.append(delivery.seq)

    async def pull(self, batch, seen=()):
        """Take so many; return which, and how many wait behind the last."""
        taken = await offers.pull(self, LANE, batch, None, seen)
        return [each.seq for each in taken], taken[-1].waiting if taken else None


@pytest.fixture
def lane(monkeypatch):
    lane = Lane()
    monkeypatch.setattr(offers, "_lost", lane._lost)
    monkeypatch.setattr(pulls, "pull", lane._pull)
    return lane


@pytest.mark.parametrize(
    ("lost", "batch", "taken"),
    [([1, 2], 2, ([1, 2], 3)), ([1, 2, 8], 2, ([1, 2], 3 + 1))],
)
async def test_where_enough_was_lost_nothing_is_pulled(lane, lost, batch, taken):
    lane.lost = [lost]

    assert await lane.pull(batch) == taken
    assert lane.asked == []


async def test_as_many_are_pulled_as_are_wanted_besides(lane):
    lane.lost, lane.offers = [[1], []], [4, 5]

    assert (await lane.pull(3), lane.asked) == (([1, 4, 5], 7), [2])
    assert lane.given_back == []


@pytest.mark.parametrize(
    ("lost", "pulled", "batch", "after"),
    [
        ([1], [8, 9], 2, ([1, 8], 7 + 1, [9])),
        ([1, 2], [8], 1, ([1], 7 + 2, [8])),  # what was lost is not this pull's to give back
        ([8], [8, 9], 2, ([8, 9], 7, [])),  # a server that knows of it has offered it anew
        ([1], [], 2, ([1], 0, [])),
    ],
)
async def test_what_was_lost_with_this_very_pull_comes_first_and_the_rest_is_given_back(
    lane, lost, pulled, batch, after
):
    lane.lost, lane.offers = [[], lost], pulled

    assert (*await lane.pull(batch), lane.given_back) == after


async def test_where_all_is_handed_out_what_was_lost_is_taken(lane):
    lane.lost, lane.offers = [[1], []], HandedOut()

    assert await lane.pull(2) == ([1], 3)
    with pytest.raises(HandedOut):
        await lane.pull(2)


async def test_what_was_pulled_is_returned_whatever_comes_after(lane):
    lane.lost, lane.offers = [[], BusUnreachable()], [4, 5]

    assert await lane.pull(2) == ([4, 5], 7)


async def test_what_is_to_be_offered_later_is_not_looked_for(lane):
    lane.lost, lane.offers = [[1, 2], [1]], [4]

    assert await lane.pull(2, seen=(1,)) == ([2, 4], 7)


async def test_what_was_offered_more_than_twice_the_server_offers_anew_and_counts(lane):
    lane.offered = {1: 2, 2: 3, 3: 3, 8: 3}
    lane.lost, lane.offers = [[1, 2, 3], [8, 10]], [2, 4]
    lane.offered[10] = 2

    assert await lane.pull(4, seen=(3,)) == ([1, 2, 4, 10], 7)
    assert (lane.asked, lane.given_back) == ([3], [2])


async def test_what_the_server_is_to_offer_anew_counts_among_what_waits_behind_what_was_lost(lane):
    """A server does not count it, nor does a reader look further for what nobody had claimed."""
    lane.offered, lane.lost = {2: 3, 3: 4}, [[1, 2, 3]]

    assert await lane.pull(1) == ([1], 3 + 2)
    assert lane.given_back == [2, 3]


class Answers:
    """A bus that counts what had no answer, and how often it is asked what it has handed out."""

    def __init__(self):
        self.unanswered, self.asked = 0, 0

    async def handed_out(self, *which):
        assert which == (LANE.stream, LANE.name, LANE.subject)
        self.asked += 1
        return []

    async def looks(self, count=1):
        """Look for what was lost; return how often the server was asked."""
        self.asked = 0
        for _ in range(count):
            await offers._lost(self, LANE, None)
        return self.asked


@pytest.fixture
def nobodys(monkeypatch):
    """What was handed out and is nobody's, and by which clock."""
    now = [1000.0, [offer(1)]]

    async def unclaimed(*_):
        return now[1]

    monkeypatch.setattr(offers, "_unclaimed", unclaimed)
    monkeypatch.setattr(offers.time, "monotonic", lambda: now[0])
    return now


async def test_nothing_is_looked_for_while_every_request_has_its_answer(nobodys):
    assert await Answers().looks(3) == 0


async def test_once_one_had_none_it_is_looked_for_until_the_server_offers_it_by_itself(nobodys):
    bus = Answers()
    await bus.looks()
    bus.unanswered += 1

    assert await bus.looks(2) == 2
    nobodys[0] += ACK_WAIT_S
    assert await bus.looks(2) == 2
    nobodys[0] += 1
    assert await bus.looks(2) == 1  # after which all is well again


async def test_where_more_is_known_to_wait_than_is_offered_it_is_looked_for_as_long(nobodys):
    bus = Answers()
    offers.doubt(bus, LANE)

    assert await bus.looks(2) == 2
    nobodys[0] += ACK_WAIT_S + 1
    assert await bus.looks(2) == 1


async def test_who_looks_beside_another_ends_its_look_and_not_a_doubt_of_meanwhile(nobodys):
    nobodys[1] = []
    bus, handed_out = Answers(), asyncio.Event()
    answer = bus.handed_out

    async def waits(*which):
        await handed_out.wait()
        return await answer(*which)

    bus.handed_out = waits
    offers.doubt(bus, LANE)
    looks = [asyncio.ensure_future(offers._lost(bus, LANE, None)) for _ in range(2)]
    await asyncio.wait(looks, timeout=0)
    nobodys[0] += 1
    bus.unanswered += 1
    later = asyncio.ensure_future(offers._lost(bus, LANE, None))
    await asyncio.wait([later], timeout=0)
    handed_out.set()

    assert await asyncio.gather(*looks) == [[], []]
    assert offers._doubts[bus][LANE].since in {None, nobodys[0]}
    assert await later == []
    assert await bus.looks() == 0


async def test_where_nothing_was_lost_it_is_looked_for_once(nobodys):
    bus = Answers()
    await bus.looks()
    bus.unanswered, nobodys[1] = 1, []

    assert await bus.looks(3) == 1


async def test_what_was_given_back_counts_as_offered_before_and_what_is_held_is_left(world):
    planner, coder = await world.session("planner"), await world.session("coder")
    for subject in ("held", "released", "new"):
        await send_task(planner, coder.me.id, subject, "x")
    lane = consumers.lane(coder.me.id, "normal")
    out = [replace(each, offered=1) for each in await pulls.pull(world.bus, lane, 5)]
    await world.bus.api(f"CONSUMER.DELETE.{lane.stream}.{lane.name}")
    held = (await read_inbox(coder, limit=2)).tasks
    await publish_result(coder, held[1].task.id, "released")

    told = []

    async def are_nobodys(handed_out):
        told.append([(task.subject, record and record.state) for task, record in handed_out])
        return [False, True, True]

    nobodys = await offers._unclaimed(world.bus, out, are_nobodys)

    assert told == [[("held", "claimed"), ("released", "stored"), ("new", None)]]
    assert nobodys == [replace(out[1], offered=2), out[2]]


@pytest.mark.parametrize(
    ("state", "attempts", "offers_"),
    [("stored", 0, 2), ("stored", 1, 2), ("stored", 2, 3), ("stored", 4, 5), ("claimed", 4, 2)],
)
def test_what_was_claimed_before_was_offered_as_often_but_for_what_came_to_nobody(
    state, attempts, offers_
):
    record = Record(
        task_id="t1", owner="planner", inbox="coder", agent="coder", state=state,
        attempts=attempts, created_at=NOON, updated_at=NOON,
    )  # fmt: skip

    assert offers._offers(record) == offers_
