# SPDX-License-Identifier: Apache-2.0
"""A task's records as they stand on the server: which are read, written, and copied to whom."""

from dataclasses import replace
from datetime import timedelta

import pytest
from messages import RECORD, RECORD_SUBJECT, SENT, SENT_SUBJECT, read_record, read_sent
from server_stand_in import NOON, Server
from strategies import spelt

from mcp_agentbus.bus.replies import TOO_MANY_RESULTS, ApiError, Conflict, Found, Message
from mcp_agentbus.core import text
from mcp_agentbus.errors import NotAllowed, Refused
from mcp_agentbus.store import codec, records
from mcp_agentbus.store.records import Written
from mcp_agentbus.store.steps import Write, copied_for
from mcp_agentbus.store.task import Moment, Wakes

SECOND = timedelta(seconds=1)
WAKES_SUBJECT = "agentbus.planner.wakes.coder.t1"
COPY_AT = "agentbus.boss.results.coder.t1"
TOLD = read_record(state="completed", reply_to="boss", updated_at=text.stamp(NOON), session="5e55")


def at(subject, value, seq=1):
    encode = {"sent": codec.encode_sent, "wakes": codec.encode_wakes}
    kind = subject.split(".")[2]
    return Found(subject, seq, NOON, {}, encode.get(kind, codec.encode_record)(value))


@pytest.mark.parametrize(
    ("key", "subject"),
    [
        (records.record_key, RECORD_SUBJECT),
        (records.sent_key, SENT_SUBJECT),
        (records.wakes_key, WAKES_SUBJECT),
    ],
)
async def test_each_record_stands_under_its_subject_and_there_is_none_where_nothing_is(
    key, subject
):
    server = Server()

    assert await records.read(server, key("planner", "coder", "t1")) == (None, 0)
    assert server.asked == [("AGENTBUS_RESULTS", subject)]


WAKES = Wakes(task_id="t1", owner="planner", inbox="coder")


async def test_what_was_written_is_read_with_its_revision():
    server = Server(messages=[Found("agentbus.a.results.b.t0", 4, NOON, {}, b"")])
    record, sent = read_record(), read_sent()

    assert await records.write_record(server, record, 0) == 5
    assert await records.write_sent(server, sent, 0) == 6
    assert await records.write(server, records.wakes_key("planner", "coder", "t1"), WAKES, 0) == 7

    of_it = ("planner", "coder", "t1")
    assert await records.read_record(server, *of_it) == (record, 5)
    assert await records.read_sent(server, *of_it) == (sent, 6)
    assert await records.read_kept(server, *of_it) == (sent, 6)
    assert await records.read_wakes(server, *of_it) == (WAKES, 7)
    with pytest.raises(Conflict):
        await records.write_record(server, record, 4)


async def test_what_was_seen_only_is_kept_and_not_sent():
    seen = read_sent(unasked=True)
    server = Server(messages=[at(SENT_SUBJECT, seen, 3)])

    assert await records.read_sent(server, "planner", "coder", "t1") == (None, 3)
    assert await records.read_kept(server, "planner", "coder", "t1") == (seen, 3)


def test_a_record_is_no_younger_than_its_storing_or_than_now_where_nothing_is_stored():
    data = spelt({**RECORD, "updated_at": "2199-01-01"})

    assert records.record_in(Found(RECORD_SUBJECT, 1, NOON, {}, data)).updated_at == NOON
    before = text.now()
    assert before <= records.record_in(Message(RECORD_SUBJECT, data)).updated_at <= text.now()


@pytest.mark.parametrize(
    "of",
    [
        {"reply_to": ""},
        {"reply_to": "planner"},
        {"state": "working"},
        {"state": "completed", "expect": "nothing"},
    ],
)
async def test_of_what_nobody_else_is_to_have_no_copy_is_written(of):
    server = Server()

    await records.copy(server, TOLD.model_copy(update=of))
    assert server.done == []


@pytest.mark.parametrize(
    ("before", "is_written"),
    [(None, True), (SECOND, True), (timedelta(0), False), (-SECOND, False)],
)
async def test_a_copy_for_another_agent_is_written_unless_it_is_there(before, is_written):
    theirs = copied_for(TOLD)
    there = theirs.model_copy(
        update={"updated_at": NOON - (before or timedelta(0)), "summary": "before"}
    )
    server = Server(messages=[] if before is None else [at(COPY_AT, there)])

    await records.copy(server, TOLD)

    left, _ = await records.read_record(server, "boss", "coder", "t1")
    assert left == (theirs if is_written else there)
    assert len(server.done) == is_written


async def test_whoever_ends_a_task_writes_the_copy_as_well_if_that_can_be_written():
    server = Server()
    assert await records.write_record(server, TOLD, 0) == 1
    assert server.done == [
        ("AGENTBUS_RESULTS", RECORD_SUBJECT, 0),
        ("AGENTBUS_RESULTS", COPY_AT, 0),
    ]

    class Closed(Server):
        async def last(self, stream, subject):
            if subject == COPY_AT:
                raise NotAllowed("not there")
            return await super().last(stream, subject)

    server = Closed()
    assert await records.write_record(server, TOLD, 0) == 1
    assert server.done == [("AGENTBUS_RESULTS", RECORD_SUBJECT, 0)]


BY_BOSS = TOLD.model_copy(update={"owner": "boss", "asked_by": "planner", "reply_to": ""})
THEIRS = read_sent(
    reply_to="boss", owner_session="0a", notify="wake", subject="S", thread_id="t5",
    priority="high", expect="nothing", chain=["lead", "planner"], hops=2,
)  # fmt: skip


@pytest.mark.parametrize("kept", [None, read_sent("agentbus.boss.sent.coder.t1", unasked=True)])
async def test_a_copy_goes_by_the_word_of_who_sent_the_task(kept):
    server = Server(messages=[at(SENT_SUBJECT, THEIRS)])

    assert await records.as_asked(server, BY_BOSS, kept) == BY_BOSS.model_copy(
        update={
            "subject": "S", "thread_id": "t5", "priority": "high", "expect": "nothing",
            "owner_session": "", "notify": "live", "reply_to": "", "chain": ("lead", "planner"),
            "hops": 2,
        }
    )  # fmt: skip
    assert server.asked == [("AGENTBUS_RESULTS", SENT_SUBJECT)]


UNASKED = BY_BOSS.model_copy(update={"unasked": True, "notify": "never", "asked_by": ""})


@pytest.mark.parametrize(
    "there", [[], [at(SENT_SUBJECT, THEIRS.model_copy(update={"reply_to": "other"}))]]
)
async def test_a_copy_that_its_sender_has_not_kept_nobody_has_asked_for(there):
    assert await records.as_asked(Server(messages=there), BY_BOSS, None) == UNASKED


async def test_what_its_owner_has_sent_itself_is_not_asked_after_elsewhere():
    server, kept = Server(), read_sent("agentbus.boss.sent.coder.t1", notify="wake")

    asked = await records.as_asked(server, BY_BOSS, kept)
    assert asked == BY_BOSS.model_copy(update={"notify": "wake", "asked_by": ""})
    nobody = TOLD.model_copy(update={"unasked": True, "notify": "never", "reply_to": ""})
    assert await records.as_asked(server, TOLD, None) == nobody
    assert server.asked == []


class Contended(Server):
    """One on which another always writes first, for so many times."""

    def __init__(self, times):
        super().__init__()
        self.times = times

    async def replace(self, stream, subject, data, revision):
        self.times -= 1
        if self.times >= 0:
            raise Conflict
        return await super().replace(stream, subject, data, revision)


async def test_whoever_loses_a_hundred_times_in_a_row_is_told_so():
    key = records.record_key("planner", "coder", "t1")
    record = read_record()

    written = await records.update(Contended(99), key, lambda _: Write(record))
    assert written == Written(record, 1)
    with pytest.raises(Refused, match="100 tries"):
        await records.update(Contended(100), key, lambda _: Write(record))


def moment(number=0, **fields):
    said = {"state": "wake-held", "at": NOON + number * SECOND, "by": "coder", "reason": "quiet"}
    return Moment(**said | fields)


@pytest.mark.parametrize(
    ("before", "new", "after"),
    [
        (None, moment(), (moment(),)),
        ((), moment(), (moment(),)),
        ((moment(),), moment(1), (moment(),)),
        ((moment(),), moment(1, reason=""), (moment(), moment(1, reason=""))),
        ((moment(), moment(1, by="x")), moment(2), (moment(), moment(1, by="x"), moment(2))),
        (
            tuple(moment(n, reason=str(n)) for n in range(20)), moment(20),
            (*(moment(n, reason=str(n)) for n in range(1, 20)), moment(20)),
        ),
    ],
)  # fmt: skip
async def test_the_latest_twenty_steps_of_wakes_are_kept_each_once(before, new, after):
    there = (
        [] if before is None else [at(WAKES_SUBJECT, WAKES.model_copy(update={"moments": before}))]
    )
    server = Server(messages=there)

    await records.add_wake(server, "planner", "coder", "t1", new)

    wakes, _ = await records.read_wakes(server, "planner", "coder", "t1")
    assert wakes == WAKES.model_copy(update={"moments": after})
    assert len(server.done) == (after != before)


MANY = [
    at(RECORD_SUBJECT, read_record(), 5),
    at(SENT_SUBJECT, read_sent(), 6),
    at(WAKES_SUBJECT, WAKES, 7),
]


def test_each_record_is_read_as_what_its_subject_says():
    assert [records.decode(each) for each in MANY] == [read_record(), read_sent(), WAKES]


@pytest.mark.parametrize(
    ("kind", "value"),
    [("results", read_record()), ("sent", read_sent()), ("wakes", WAKES), ("x", None)],
)
def test_the_latest_of_a_kind_counts_and_none_that_cannot_be_read(kind, value):
    older = replace(MANY[0], seq=1, data=spelt({**RECORD, "state": "failed"}))
    assert records.latest([*MANY, older], kind) == value
    broken = [replace(each, seq=each.seq + 10, data=b"\x00") for each in MANY]
    assert records.latest([*broken, *MANY], kind) is None


def test_of_what_is_kept_under_a_tasks_id_the_sent_one_counts_and_then_the_latest():
    first = Found("agentbus.planner.sent.a.t1", 1, NOON, {}, spelt(SENT))
    second = Found("agentbus.planner.sent.b.t1", 2, NOON, {}, spelt(SENT))
    seen = Found("agentbus.planner.sent.c.t1", 3, NOON, {}, spelt({**SENT, "unasked": True}))

    assert records.kept_among([first, second, seen, *MANY[::2]])[0].inbox == "b"
    assert records.kept_among([seen, replace(first, data=b"")])[0].inbox == "c"
    assert records.kept_among([replace(first, data=b""), MANY[0]])[0] is None
    assert records.kept_among([]) == (None, 0)


async def test_what_is_kept_under_a_tasks_id_in_any_inbox_is_asked_for_at_once():
    server = Server(messages=MANY)

    assert await records.read_kept(server, "planner", "*", "t1") == (read_sent(), 6)
    assert server.asked == [("AGENTBUS_RESULTS", {"multi_last": ["agentbus.planner.sent.*.t1"]})]


class Flooded(Server):
    """One that refuses to name as many as fit, with one code or another."""

    def __init__(self, code):
        super().__init__(messages=MANY)
        self.code = code

    async def many(self, stream, request):
        await super().many(stream, request)
        raise ApiError(self.code)


async def test_where_more_fit_than_are_named_at_once_they_are_gone_through():
    server, filters = Flooded(TOO_MANY_RESULTS), [RECORD_SUBJECT, "agentbus.planner.wakes.>"]

    assert await records.lasts(server, filters) == [MANY[0], MANY[2]]
    with pytest.raises(ApiError):
        await records.lasts(Flooded(TOO_MANY_RESULTS + 1), filters)


async def test_many_subjects_are_asked_for_by_the_thousand():
    server, filters = Server(messages=MANY[:1]), [f"agentbus.a.results.b.{n}" for n in range(2001)]

    assert await records.lasts(server, filters) == MANY[:1] * 3
    asked = [request["multi_last"] for _, request in server.asked]
    assert sorted(asked, key=len) == [filters[2000:], *sorted((filters[:1000], filters[1000:2000]))]
    assert await records.lasts(server, []) == []
