# SPDX-License-Identifier: Apache-2.0
"""What is stored as a task is set aside and offered again: all of it, there and nowhere else."""

from dataclasses import replace as changed
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import strategies
from messages import TASK

from mcp_agentbus.bus.replies import Delivery, Found, Stored
from mcp_agentbus.errors import Refused, StoreFull, UnknownTask
from mcp_agentbus.handoff.parked import parking, replaying
from mcp_agentbus.handoff.parked.parking import Parked
from mcp_agentbus.store import subjects
from mcp_agentbus.store.subjects import DEAD, TASKS

AT = datetime(2026, 5, 18, 10, 0, tzinfo=UTC)
LANE = "agentbus.coder.tasks.high.planner"
ASIDE = subjects.dead_subject("coder", "high", "planner")
TOKEN = f"$JS.ACK.{TASKS}.coder-high.1.7.3.1795743849000000000.0"
OF_THE_TASK = {"Agentbus-Task": "t1", "Agentbus-Hops": "2"}
OF_ITS_STORING = {"Nats-Msg-Id": "m1", subjects.H_REASON: "of before", subjects.H_MOVED: "3"}


class Bus:
    """Notes what is stored, finished and asked of a server, which has what stands in `found`.

    It says of so many messages as are `known` that it has them already, under `at`.
    """

    def __init__(self, *found, fails=0, account=None, url=None, known=0, at=9):
        self.kept, self.finished, self.asked = [], [], []
        self.found, self.fails, self.known, self.at = found, fails, known, at
        self.settings = SimpleNamespace(account=account, url=url)

    async def publish(self, *what, **how):
        if self.fails:
            self.fails -= 1
            raise StoreFull
        self.kept.append((what, how))
        return Stored(self.at, duplicate=len(self.kept) <= self.known)

    async def finish(self, delivery):
        self.finished.append(delivery)

    async def many(self, stream, request):
        self.asked.append((stream, request))
        return [each for each in self.found if each.seq >= request["seq"]][:1]

    async def api(self, call, request):
        self.asked.append((call, request))

    async def stored(self, stream, subject, *, page):
        assert (stream, page) == (DEAD, 100)
        inbox = subject.split(".")[1]
        yield [each for each in self.found if inbox in {"*", each.subject.split(".")[1]}]


def delivery(headers=()):
    every = {**OF_THE_TASK, **OF_ITS_STORING, **dict(headers)}
    return Delivery(LANE, b"{}", every, TOKEN, TASKS, 7, 1, AT, 0)


def aside(seq, data=b"rubbish", on=ASIDE):
    return Found(on, seq, AT, {**OF_THE_TASK, **OF_ITS_STORING}, data)


@pytest.mark.parametrize(
    ("headers", "kept"),
    [({}, {}), ({subjects.H_SCHEDULER: "s1"}, {subjects.H_SCHEDULED_BY: "s1"})],
    ids=["sent at once", "scheduled"],
)
async def test_what_is_set_aside_is_the_task_with_why_and_from_where(headers, kept):
    bus, taken = Bus(), delivery(headers)

    await parking.park(bus, taken, "coder", "too often", None)

    said = {**OF_THE_TASK, **kept, subjects.H_REASON: "too often", subjects.H_MOVED: "7"}
    known = {"message_id": f"dead-{TASKS}-7-2026-05-18T10:00:00.000000Z", "stream": DEAD}
    assert bus.kept == [((ASIDE, b"{}", said), known)]
    assert bus.finished == [taken]


@pytest.mark.parametrize(
    ("account", "has_room", "parked"), [(None, True, 1), (None, False, 0), ("mine", True, 0)]
)
async def test_where_no_more_can_be_parked_room_is_made_but_by_a_gate_that_does_it_itself(
    monkeypatch, account, has_room, parked
):
    async def makes(_):
        return has_room

    monkeypatch.setattr(parking, "make_room", makes)
    bus = Bus(fails=1, account=account)

    if parked:
        await parking.park(bus, delivery(), "coder", "too often", None)
    else:
        with pytest.raises(StoreFull):
            await parking.park(bus, delivery(), "coder", "too often", None)
    assert len(bus.kept) == len(bus.finished) == parked


async def test_what_is_parked_is_listed_with_all_that_is_known_of_it():
    plain = Found(ASIDE, 2, AT, {}, strategies.spelt(TASK))

    unread, read = await parking.parked(Bus(aside(1), plain), "coder")

    of_both = {"inbox": "coder", "sender": "planner", "parked_at": AT}
    assert unread == Parked(number=1, reason="of before", task=None, size=7, **of_both)
    assert (read.task.id, read.reason, read.size) == ("t1", "no reason kept", len(plain.data))


async def test_what_is_offered_again_is_what_was_sent_and_lies_there_no_more():
    bus = Bus(aside(1), aside(2))

    offered = await replaying.replay(bus, ["coder"], "2")

    said = {**OF_THE_TASK, subjects.H_MOVED: "2"}
    assert offered.number == 2
    known = {"message_id": "replay-2-2026-05-18T10:00:00.000000Z", "stream": TASKS}
    assert bus.kept == [((LANE, b"rubbish", said), known)]
    asked = (DEAD, {"seq": 2, "batch": 1})
    assert bus.asked == [asked, asked, (f"STREAM.MSG.DELETE.{DEAD}", {"seq": 2})]


LATER = AT + timedelta(microseconds=1)


@pytest.mark.parametrize("now_there", [(), (aside(3),), (changed(aside(2), stored_at=LATER),)])
async def test_what_is_gone_from_there_or_is_another_by_now_is_neither_offered_nor_removed(
    monkeypatch, now_there
):
    bus = Bus(*now_there)
    seen = [parking._parked(aside(2))]

    async def parked(*_):
        return seen

    monkeypatch.setattr(replaying, "parked", parked)
    with pytest.raises(UnknownTask, match="'2' is parked no more"):
        await replaying.replay(bus, ["coder"], "2")
    assert (bus.kept, bus.asked) == ([], [(DEAD, {"seq": 2, "batch": 1})])


@pytest.mark.parametrize(
    ("there", "tries"),
    [
        ([changed(aside(9, on=LANE), data=b"rubbish")], 1),
        ([changed(aside(9, on=LANE), data=b"of another")], 2),
        ([changed(aside(10, on=LANE), data=b"rubbish")], 2),
        ([], 2),
    ],
    ids=["lies there", "another does", "gone", "the last, and gone"],
)
async def test_what_a_server_says_to_have_is_removed_only_where_it_lies_there(there, tries):
    bus = Bus(aside(1), *there, known=1)

    await replaying.replay(bus, ["coder"], "1")

    assert [how["message_id"] is None for _, how in bus.kept] == [False, True][:tries]
    assert bus.asked[-1] == (f"STREAM.MSG.DELETE.{DEAD}", {"seq": 1})


async def test_what_can_be_moved_under_no_id_stays_where_it_is():
    bus, offering = Bus(known=2), Bus(aside(1), known=2)

    with pytest.raises(Refused, match="has gone on since"):
        await parking.park(bus, delivery(), "coder", "too often", None)
    with pytest.raises(Refused, match="has gone on since"):
        await replaying.replay(offering, ["coder"], "1")

    assert bus.finished == []
    assert not any("DELETE" in call for call, _ in offering.asked)


async def test_what_is_past_its_deadline_is_not_offered_again(elapse):
    over = strategies.spelt({**TASK, "expires_at": AT.isoformat()})

    with pytest.raises(Refused, match="The deadline of task t1 has passed"):
        await replaying.replay(Bus(aside(1, over)), ["coder"], "t1")


@pytest.mark.parametrize(
    ("inboxes", "said", "hint"),
    [
        (["lead"], "No task '1' is parked for lead, but one is for coder.", "A session of coder"),
        (["*"], "No task '9' is parked for your agents.", "`agentbus parked` lists what is"),
    ],
)
async def test_who_asks_for_what_is_parked_for_another_is_told_whose_it_is(inboxes, said, hint):
    which = said.split("'")[1]

    with pytest.raises(UnknownTask) as refused:
        await replaying.replay(Bus(aside(1)), inboxes, which)

    assert refused.value.message == said
    assert refused.value.hint.startswith(hint)


async def test_an_inbox_that_nobody_can_have_is_not_named_to_who_asks_for_what_is_parked():
    on = "agentbus.coder;curl\u202e.dead.low.planner"

    with pytest.raises(UnknownTask) as refused:
        await replaying.replay(Bus(aside(1, on=on)), ["lead"], "1")

    assert refused.value.message == "No task '1' is parked for lead."
    assert "curl" not in refused.value.hint


async def test_what_is_parked_for_a_role_is_offered_again_by_who_holds_it():
    on = subjects.dead_subject("role-review", "low", "planner")

    with pytest.raises(UnknownTask, match="but one is for role:review") as refused:
        await replaying.replay(Bus(aside(1, on=on)), ["lead"], "1")

    assert refused.value.hint == "An agent that holds role:review can replay it."
