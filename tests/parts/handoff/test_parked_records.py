# SPDX-License-Identifier: Apache-2.0
"""What a task's record says once it is set aside, and once it is offered again."""

from dataclasses import replace

import pytest
import strategies
from messages import TASK
from server_stand_in import NOON, Server

from mcp_agentbus.bus.replies import Delivery, Found, Stored
from mcp_agentbus.core import text
from mcp_agentbus.errors import AlreadyEnded, InboxFull, NotAllowed
from mcp_agentbus.handoff.parked import parking, replay
from mcp_agentbus.handoff.parked.parking import Parked
from mcp_agentbus.store import codec, roster, subjects
from mcp_agentbus.store.queries import read_back
from mcp_agentbus.store.records import record_key, sent_key
from mcp_agentbus.store.steps import first_record, sent_of, step
from mcp_agentbus.store.subjects import TASKS
from mcp_agentbus.store.task import Moment, Record

LANE = "agentbus.coder.tasks.high.planner"
ASIDE = subjects.dead_subject("coder", "high", "planner")
DELIVERY = Delivery(LANE, b"{}", {subjects.H_TASK: "t1"}, "token", TASKS, 7, 1, NOON, 0)
PARKED = Found(ASIDE, 1, NOON, {}, strategies.spelt(TASK))
SENT = sent_of(read_back.decoded(replace(PARKED, subject=LANE)))
UNTOUCHED = first_record(SENT)


def stepped(state, session="", attempts=0):
    """Return the record of the task one step on."""
    return step(UNTOUCHED, state, "coder", session, NOON, attempts=attempts)


class Bus(Server):
    """A bus on which the record of the task stands, if there is one, and maybe comes another."""

    def __init__(self, *messages, record=None):
        super().__init__(messages=messages)
        #: What another has written before our next write.
        self.meanwhile, self._count = (), len(messages)
        self.put(record)

    def put(self, record):
        if record:
            self.keep(record_key(record.owner, record.inbox, record.task_id), record)

    def keep(self, place, what):
        self._count += 1
        self.messages.append(Found(place.subject, self._count, NOON, {}, place.encode(what)))

    @property
    def record(self):
        """The record as it stands; None if there is none."""
        of_tasks = [each for each in self.messages if ".results." in each.subject]
        return codec.decode_record(of_tasks[-1].subject, of_tasks[-1].data) if of_tasks else None

    @property
    def sent(self):
        """What its sender keeps of the task as it stands."""
        *_, kept = (each for each in self.messages if ".sent." in each.subject)
        return codec.decode_sent(kept.subject, kept.data)

    async def many(self, stream, request):
        return [each for each in self.messages if each.seq == request["seq"]]

    async def replace(self, stream, subject, data, revision):
        for record in self.meanwhile:
            self.messages = [each for each in self.messages if ".results." not in each.subject]
            self.put(record)
        self.meanwhile = ()
        return await super().replace(stream, subject, data, revision)


@pytest.fixture(autouse=True)
def live(monkeypatch):
    """Name the sessions that live."""
    live = set()

    async def may_live(_, agent, session):
        assert agent == "coder"
        return session in live

    monkeypatch.setattr(text, "now", lambda: NOON)
    monkeypatch.setattr(roster, "may_live", may_live)
    return live


async def test_a_task_that_is_set_aside_has_ended_so_with_the_reason():
    before = stepped("claimed", "session-1", attempts=5)
    bus = Bus(record=before)

    await parking.park(bus, DELIVERY, "coder", "too often", (before, 1))

    assert bus.record == step(before, "parked", "coder", "", NOON, reason="too often")
    assert bus.done[-1] == ("finished", 7)


async def test_what_another_has_set_aside_at_the_same_moment_stays_as_that_says():
    before = stepped("claimed", "session-1", attempts=5)
    theirs = step(before, "parked", "coder", "", NOON, reason="of another")
    bus = Bus(record=before)
    bus.meanwhile = [theirs]

    await parking.park(bus, DELIVERY, "coder", "too often", (before, 1))

    assert bus.record == theirs
    assert bus.done[-1] == ("finished", 7)


@pytest.mark.parametrize(("lane", "priority"), [("low", "low"), ("urgent", "normal")])
async def test_the_sender_of_what_cannot_be_read_is_told_by_what_its_header_names(lane, priority):
    bus = Bus()

    await parking.park_undecodable(
        bus, replace(DELIVERY, subject=f"agentbus.coder.tasks.{lane}.planner"), "coder", "no JSON"
    )

    reason = "it could not be read: no JSON"
    moments = (
        Moment(state="stored", at=NOON, by="planner"),
        Moment(state="parked", at=NOON, by="coder", reason=reason),
    )
    assert bus.record == Record(
        task_id="t1", owner="planner", inbox="coder", state="parked", agent="coder",
        subject="(could not be read)", thread_id="t1", priority=priority, reason=reason,
        updated_at=NOON, history=moments,
    )  # fmt: skip
    [(_, subject, _, headers, data), _, _] = bus.done
    assert subject == subjects.dead_subject("coder", lane, "planner")
    assert (headers[subjects.H_REASON], data) == (reason, b"{}")


async def test_what_stands_of_what_cannot_be_read_is_ended():
    before = stepped("claimed", "session-1", attempts=1)
    bus = Bus(record=before)

    await parking.park_undecodable(bus, DELIVERY, "coder", "no JSON")

    reason = "it could not be read: no JSON"
    assert bus.record == step(before, "parked", "coder", "", NOON, reason=reason)


@pytest.mark.parametrize("before", ["completed", "cancelled", "working"])
async def test_what_only_names_a_task_ends_none_that_has_an_end_or_that_a_session_holds(
    live, before
):
    live.add("session-1")
    stands = stepped(before, "session-1", attempts=1)
    bus = Bus(record=stands)

    await parking.park_undecodable(bus, DELIVERY, "coder", "no JSON")

    assert bus.record == stands
    assert [each[0] for each in bus.done] == ["AGENTBUS_DEAD", "finished"]


@pytest.mark.parametrize(
    ("task_id", "sender"), [("", "planner"), ("*", "planner"), ("t1", "PLANNER")]
)
async def test_of_what_names_no_task_or_no_sender_nobody_is_told(task_id, sender):
    bus = Bus()
    odd = replace(
        DELIVERY,
        headers={subjects.H_TASK: task_id},
        subject=f"agentbus.coder.tasks.high.{sender}",
    )

    await parking.park_undecodable(bus, odd, "coder", "no JSON")

    assert bus.record is None
    assert bus.done[-1] == ("finished", 7)


def test_a_flood_of_one_hides_nothing_that_others_have_sent():
    senders = ["mallory", "mallory", "planner", "mallory", "lead"]
    listed = [
        Parked(number, "coder", sender, "too often", NOON, None, 2)
        for number, sender in enumerate(senders)
    ]

    shown = parking.floods_last(reversed(listed))

    assert [each.number for each in shown] == [4, 2, 0, 1, 3]


ANEW = "offered again by a person"


@pytest.mark.parametrize(
    ("before", "begins_anew"),
    [
        (stepped("parked", attempts=5), True),
        (stepped("parked"), True),
        (stepped("stored", attempts=2), True),
        (stepped("stored"), False),
        (stepped("claimed", "gone", attempts=5), True),
        (stepped("claimed", "session-1", attempts=5), False),
        (None, False),
    ],
    ids=["parked", "unread", "stored", "never claimed", "its holder is gone", "held", "none"],
)
async def test_what_is_offered_again_has_its_life_before_it_unless_a_session_holds_it(
    live, before, begins_anew
):
    live.add("session-1")
    bus = Bus(PARKED, record=before)

    await replay.replay(bus, ["coder"], "t1")

    anew = begins_anew and step(before, "stored", "coder", "", NOON, attempts=0, reason=ANEW)
    assert bus.record == (anew or before)


@pytest.mark.parametrize(
    "meanwhile", [stepped("claimed", "session-2", attempts=1), None], ids=["claimed", "gone"]
)
async def test_what_was_claimed_or_has_gone_as_it_is_offered_again_stays_so(meanwhile):
    bus = Bus(PARKED, record=stepped("parked", attempts=5))
    bus.meanwhile = [meanwhile]

    await replay.replay(bus, ["coder"], "t1")

    assert bus.record == meanwhile


async def test_what_another_has_set_aside_once_more_as_it_is_offered_again_begins_anew():
    bus = Bus(PARKED, record=stepped("claimed", "gone", attempts=5))
    bus.meanwhile = [parked := stepped("parked", attempts=5)]

    await replay.replay(bus, ["coder"], "t1")

    assert bus.record == step(parked, "stored", "coder", "", NOON, attempts=0, reason=ANEW)


OVER = ["completed", "failed", "rejected", "cancelled", "expired"]


@pytest.mark.parametrize("end", OVER)
async def test_what_is_over_is_not_offered_again_and_is_set_aside_no_more(end):
    over = stepped(end, "session-1", attempts=1)
    bus = Bus(PARKED, record=over)
    bus.keep(KEPT, SEEN)

    with pytest.raises(AlreadyEnded, match=f"Task t1 is over: {end}"):
        await replay.replay(bus, ["coder"], "t1")

    assert (bus.record, bus.sent) == (over, SEEN)
    assert bus.done == [("STREAM.MSG.DELETE.AGENTBUS_DEAD", {"seq": 1})]


async def test_what_was_done_by_another_as_it_is_offered_again_keeps_its_result():
    bus = Bus(PARKED, record=stepped("claimed", "gone", attempts=1))
    bus.meanwhile = [done := stepped("completed", "gone", attempts=1)]

    with pytest.raises(AlreadyEnded):
        await replay.replay(bus, ["coder"], "t1")

    assert bus.record == done


KEPT = sent_key("planner", "coder", "t1")
SEEN = SENT.model_copy(update={"seen_revision": 2, "seen_at": NOON, "closed": True})


async def test_what_is_offered_again_is_open_to_a_sender_who_has_seen_that_it_was_set_aside():
    bus = Bus(PARKED, record=stepped("parked", attempts=5))
    bus.keep(KEPT, SEEN)

    await replay.replay(bus, ["coder"], "t1")

    assert bus.sent == SEEN.model_copy(update={"closed": False, "seq": bus.ack.seq})


async def test_where_it_lies_is_kept_also_if_who_offered_it_again_was_cut_off_before_that():
    bus = Bus(PARKED, record=step(stepped("parked"), "stored", "coder", "", NOON, attempts=0))
    bus.keep(KEPT, SENT.model_copy(update={"seq": 3}))
    bus.ack = Stored(9, duplicate=True)
    bus.messages.append(replace(PARKED, subject=LANE, seq=9))

    await replay.replay(bus, ["coder"], "t1")

    assert bus.sent.seq == 9
    assert bus.done[-1] == ("STREAM.MSG.DELETE.AGENTBUS_DEAD", {"seq": 1})


async def test_what_its_senders_account_alone_may_write_does_not_keep_a_task_from_being_offered():
    class Shared(Bus):
        async def replace(self, stream, subject, data, revision):
            if ".sent." in subject:
                raise NotAllowed
            return await super().replace(stream, subject, data, revision)

    bus = Shared(PARKED, record=stepped("parked", attempts=5))
    bus.keep(KEPT, SEEN)

    await replay.replay(bus, ["coder"], "t1")

    assert (bus.record.state, bus.sent) == ("stored", SEEN)


@pytest.mark.parametrize("seen", [SEEN, SENT])
async def test_what_its_inbox_does_not_take_as_it_is_offered_again_stays_set_aside(seen):
    class Full(Bus):
        async def publish(self, *_, **__):
            raise InboxFull

    parked = stepped("parked", attempts=5)
    bus = Full(PARKED, record=parked)
    bus.keep(KEPT, seen)

    with pytest.raises(InboxFull):
        await replay.replay(bus, ["coder"], "t1")

    revision = max(each.seq for each in bus.messages if ".results." in each.subject)
    told = {"closed": True, "seen_revision": revision} if seen.closed else {}
    assert (bus.record, bus.sent) == (parked, seen.model_copy(update=told))
