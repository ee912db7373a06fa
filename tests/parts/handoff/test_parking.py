# SPDX-License-Identifier: Apache-2.0
"""What is stored as a task is set aside and offered again: all of it, there and nowhere else."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
import strategies
from messages import TASK

from mcp_agentbus.bus.replies import Delivery, Found
from mcp_agentbus.errors import Refused, StoreFull, UnknownTask
from mcp_agentbus.handoff import parking
from mcp_agentbus.handoff.parking import Parked
from mcp_agentbus.store import subjects
from mcp_agentbus.store.subjects import DEAD, TASKS

AT = datetime(2026, 5, 18, 10, 0, tzinfo=UTC)
LANE = "agentbus.coder.tasks.high.planner"
ASIDE = subjects.dead_subject("coder", "high", "planner")
TOKEN = f"$JS.ACK.{TASKS}.coder-high.1.7.3.1795743849000000000.0"
OF_THE_TASK = {"Agentbus-Task": "t1", "Agentbus-Hops": "2"}
OF_ITS_STORING = {"Nats-Msg-Id": "m1", subjects.H_REASON: "of before", subjects.H_MOVED: "3"}


class Bus:
    """Notes what is stored, finished and asked of a server, which has what stands in `found`."""

    def __init__(self, *found, fails=0, account=None, url=None):
        self.kept, self.finished, self.asked = [], [], []
        self.found, self.fails = found, fails
        self.settings = SimpleNamespace(account=account, url=url)

    async def publish(self, *what, **how):
        if self.fails:
            self.fails -= 1
            raise StoreFull
        self.kept.append((what, how))

    async def finish(self, delivery):
        self.finished.append(delivery)

    async def many(self, stream, request):
        self.asked.append((stream, request))
        return [each for each in self.found if each.seq == request["seq"]]

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
    known = {"message_id": f"dead-{TASKS}-7", "stream": DEAD}
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

    offered = await parking.replay(bus, ["coder"], "2")

    said = {**OF_THE_TASK, subjects.H_MOVED: "2"}
    assert offered.number == 2
    assert bus.kept == [((LANE, b"rubbish", said), {"message_id": "replay-2", "stream": TASKS})]
    assert bus.asked == [
        (DEAD, {"seq": 2, "batch": 1}), (f"STREAM.MSG.DELETE.{DEAD}", {"seq": 2}),
    ]  # fmt: skip


async def test_what_is_past_its_deadline_is_not_offered_again(elapse):
    over = strategies.spelt({**TASK, "expires_at": AT.isoformat()})

    with pytest.raises(Refused, match="The deadline of task t1 has passed"):
        await parking.replay(Bus(aside(1, over)), ["coder"], "t1")


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
        await parking.replay(Bus(aside(1)), inboxes, which)

    assert refused.value.message == said
    assert refused.value.hint.startswith(hint)


async def test_an_inbox_that_nobody_can_have_is_not_named_to_who_asks_for_what_is_parked():
    on = "agentbus.coder;curl\u202e.dead.low.planner"

    with pytest.raises(UnknownTask) as refused:
        await parking.replay(Bus(aside(1, on=on)), ["lead"], "1")

    assert refused.value.message == "No task '1' is parked for lead."
    assert "curl" not in refused.value.hint


async def test_what_is_parked_for_a_role_is_offered_again_by_who_holds_it():
    on = subjects.dead_subject("role-review", "low", "planner")

    with pytest.raises(UnknownTask, match="but one is for role:review") as refused:
        await parking.replay(Bus(aside(1, on=on)), ["lead"], "1")

    assert refused.value.hint == "An agent that holds role:review can replay it."
