# SPDX-License-Identifier: Apache-2.0
"""The bytes of each kind, whole: every field as it is written, and as it is read again."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from messages import (
    RECORD,
    RECORD_SUBJECT,
    STORED_AT,
    TASK_SUBJECT,
    read_record,
    read_sent,
    read_task,
    record_again,
    sent_again,
    task_again,
)
from strategies import nested, spelt

from mcp_agentbus.core import text
from mcp_agentbus.store import codec
from mcp_agentbus.store.task import Answer, Moment, Record, Sent, Task, Undecodable, Wakes

HOUR = timedelta(hours=1)
WAKES_SUBJECT = "agentbus.planner.wakes.coder.t1"
TASK = Task(
    id="t1", sender="planner", to="coder", subject="Zähle", body="alle 🚂", priority="high",
    task_type="review", thread_id="t0", in_reply_to="t9", created_at=STORED_AT - HOUR,
    expires_at=STORED_AT + HOUR, deliver_at=STORED_AT, notify="wake", chain=("lead", "planner"),
    hops=2, session="5e55", request="r1", expect="nothing", reply_to="boss",
    content_type="markdown",
)  # fmt: skip
RECORD_OF_ALL = Record(
    task_id="t1", owner="planner", inbox="coder", state="needs_input", agent="coder",
    session="5e55", attempts=2, subject="Zähle", thread_id="t0", priority="high",
    owner_session="0a", notify="wake", expect="nothing", reply_to="boss", asked_by="lead",
    summary="Welche?", body="a oder b", artifacts=("x.py",), progress=50.0, reason="why",
    late=True, updated_at=STORED_AT,
    history=(Moment(state="stored", at=STORED_AT, by="planner", reason="r", note="n"),),
)  # fmt: skip
SENT_OF_ALL = Sent(
    task_id="t1", owner="planner", inbox="coder", subject="Zähle", thread_id="t0",
    priority="high", owner_session="0a", notify="wake", created_at=STORED_AT,
    expires_at=STORED_AT + HOUR, deliver_at=STORED_AT, request="r1", expect="nothing",
    reply_to="boss", chain=("lead", "planner"), hops=2, task_type="review", in_reply_to="t9",
    answers=(Answer(question=STORED_AT, at=STORED_AT, body="a"),), body="alle", body_chars=4,
    seq=7, seen_revision=3, seen_at=STORED_AT, closed=True, unasked=True,
)  # fmt: skip


def test_a_task_is_written_with_all_that_it_says():
    assert codec.encode_task(TASK).decode() == (
        '{"v":1,"type":"task.request","id":"t1","from":"planner","to":"coder","reply_to":"boss",'
        '"task_type":"review","subject":"Zähle","priority":"high","thread_id":"t0",'
        '"created_at":"2026-05-18T09:00:00.000Z","expires_at":"2026-05-18T11:00:00.000Z",'
        '"notify":"wake","payload":{"content":"alle 🚂"},"in_reply_to":"t9",'
        '"deliver_at":"2026-05-18T10:00:00.000Z","expect":"nothing","content_type":"markdown"}'
    )
    assert codec.task_headers(TASK) == {
        "Agentbus-Task": "t1", "Agentbus-Thread": "t0", "Agentbus-Hops": "2",
        "Agentbus-Chain": "lead,planner", "Agentbus-Session": "5e55", "Agentbus-Request": "r1",
    }  # fmt: skip
    assert task_again(TASK) == TASK


def test_of_a_task_what_goes_without_saying_is_not_written():
    one = read_task()
    written = json.loads(codec.encode_task(one))

    assert written.keys().isdisjoint({"in_reply_to", "deliver_at", "expect", "content_type"})
    assert written["reply_to"] == "planner"
    assert task_again(one) == one


def test_a_value_that_is_not_known_is_written_as_it_was_given():
    written = json.loads(codec.encode_task(read_task(priority="urgent", notify="shout")))

    assert (written["priority"], written["notify"]) == ("urgent", "shout")
    assert read_task(priority={"ä": 1}).priority_given == '{"ä": 1}'


def test_a_record_is_written_with_all_that_it_says():
    fields = RECORD_OF_ALL.model_dump(mode="json")
    body = fields.pop("body")
    for unsaid in ("state_given", "priority_given", "notify_given"):
        assert fields.pop(unsaid) is None

    assert json.loads(codec.encode_record(RECORD_OF_ALL)) == fields | {
        "v": 1, "type": "task.result", "id": "t1", "status": "needs_input", "result": body,
        "task": {
            "id": "t1", "from": "planner", "to": "coder", "reply_to": "planner",
            "type": "task.request",
        },
    }  # fmt: skip
    assert "Zähle" in codec.encode_record(RECORD_OF_ALL).decode()
    assert record_again(RECORD_OF_ALL) == RECORD_OF_ALL


def test_of_a_record_what_goes_without_saying_is_not_written():
    one = read_record(state="completed", updated_at=text.stamp(STORED_AT))

    assert json.loads(codec.encode_record(one)) == {
        "v": 1, "type": "task.result", "task_id": "t1", "id": "t1", "owner": "planner",
        "inbox": "coder", "state": "completed", "status": "completed", "agent": "coder",
        "updated_at": "2026-05-18T10:00:00Z", "completed_at": "2026-05-18T10:00:00.000Z",
        "result": "",
        "task": {
            "id": "t1", "from": "planner", "to": "coder", "reply_to": "planner",
            "type": "task.request",
        },
    }  # fmt: skip


def test_a_senders_record_is_written_with_all_that_it_says():
    fields = SENT_OF_ALL.model_dump(mode="json")
    for unsaid in ("priority_given", "notify_given"):
        assert fields.pop(unsaid) is None

    assert json.loads(codec.encode_sent(SENT_OF_ALL)) == {"v": 1, "type": "task.sent", **fields}
    assert sent_again(SENT_OF_ALL) == SENT_OF_ALL
    least = {"v", "type", "task_id", "owner", "inbox", "created_at", "expires_at"}
    assert json.loads(codec.encode_sent(read_sent())).keys() == least


def test_what_is_kept_of_a_request_is_its_beginning():
    assert read_sent(body="x" * 2001).body == "x" * 2000
    assert read_sent(body=["x"]).body == ""
    bad = read_sent(request="a b", task_type="a b", in_reply_to="a.b")
    assert (bad.request, bad.task_type, bad.in_reply_to) == ("", "default", None)


def test_what_its_reader_alone_knows_no_record_says():
    one = read_record(unasked=True, chain=["lead"], hops=3)

    assert (one.unasked, one.chain, one.hops) == (False, (), 0)
    assert one == read_record()


@pytest.mark.parametrize(
    ("after", "is_believed"),
    [(timedelta(minutes=1), True), (timedelta(minutes=1, milliseconds=1), False), (-HOUR, True)],
)
def test_a_record_may_be_a_minute_younger_than_its_storing_as_clocks_differ(after, is_believed):
    at = STORED_AT + after
    data = spelt({**RECORD, "updated_at": text.stamp(at)})

    read = codec.decode_record(RECORD_SUBJECT, data, STORED_AT)
    assert read == read_record(updated_at=text.stamp(at if is_believed else STORED_AT))
    assert codec.decode_record(RECORD_SUBJECT, data).updated_at == at


def test_a_record_without_a_time_is_as_old_as_its_end():
    one = codec.decode_record(
        RECORD_SUBJECT, spelt({"status": "completed", "completed_at": "2026-05-18T10:00:00Z"})
    )

    assert (one.state, one.updated_at, one.body, one.agent) == ("completed", STORED_AT, "", "coder")


MOMENT = {"state": "woken", "at": "2026-05-18T10:00:00Z", "by": "coder"}


def test_a_record_of_wakes_is_read_as_it_was_written():
    wakes = Wakes(
        task_id="t1", owner="planner", inbox="coder",
        moments=(Moment(state="woken", at=STORED_AT, by="coder", reason="ü", note="n"),),
    )  # fmt: skip

    assert json.loads(codec.encode_wakes(wakes)) == {
        "v": 1, "type": "task.wakes", **wakes.model_dump(mode="json"),
    }  # fmt: skip
    assert codec.decode_wakes(WAKES_SUBJECT, codec.encode_wakes(wakes)) == wakes


def test_of_a_record_of_wakes_that_is_read_which_may_be_shown():
    bad = {**MOMENT, "state": "a b", "by": "x\ny", "reason": "r" * 501, "note": "n" * 501}
    data = spelt({"task_id": "t2", "owner": "boss", "newer": 1, "moments": [MOMENT, bad]})

    assert codec.decode_wakes(WAKES_SUBJECT, data) == Wakes(
        task_id="t1", owner="planner", inbox="coder",
        moments=(
            Moment(state="woken", at=STORED_AT, by="coder"),
            Moment(state="", at=STORED_AT, by="", reason="r" * 499 + "…", note="n" * 500),
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("moments", "why"), [("x", "moments"), ([{"state": "woken"}], "moments"), ([7], "moments")]
)
def test_what_is_no_record_of_wakes_says_why(moments, why):
    with pytest.raises(Undecodable, match=f"^it is no record of wakes: {why}$"):
        codec.decode_wakes(WAKES_SUBJECT, spelt({"moments": moments}))


def test_of_what_is_no_record_every_field_is_named_in_order():
    with pytest.raises(Undecodable, match=r"^it is no record: artifacts, attempts, late$"):
        read_record(late="perhaps", attempts=-1, artifacts=[1, 2])


@pytest.mark.parametrize("steps", ["x", None, {"state": "x y"}, 7])
def test_a_history_that_is_none_is_no_step(steps):
    if steps is None:
        assert codec._clean_history(steps) is None
    else:
        with pytest.raises(Undecodable, match="history"):
            read_record(history=steps)


def test_of_a_step_the_note_is_kept_to_its_limit_and_its_name_if_it_is_one():
    step = {**MOMENT, "note": "n" * 501, "by": 7, "reason": None}

    assert read_record(history=[step]).history == (
        Moment(state="woken", at=STORED_AT, by="", reason="", note="n" * 500),
    )


@pytest.mark.parametrize(("length", "shown"), [(40, "x" * 40), (41, "x" * 39 + "…")])
def test_a_value_that_was_not_known_stays_beside_the_one_that_counts(length, shown):
    given = {"priority_given": "x" * length}

    assert read_record(**given).priority_given == shown
    assert read_record(**given, priority="normal").priority_given == shown
    assert read_record(**given, priority="low").priority_given is None
    assert read_record(**given, priority="urgent").priority_given == "urgent"
    assert read_record(priority_given="").priority_given is None
    assert read_task(priority="").priority_given is None
    assert read_task(notify="").notify == "live"


@pytest.mark.parametrize(("depth", "is_read"), [(30, True), (31, False)])
def test_how_deep_it_may_be_nested_counts_lists_and_objects_alike(depth, is_read):
    objects = 7
    for _ in range(depth + 1):
        objects = {"x": objects}
    for deep in (nested(depth), objects if depth == 31 else {"x": nested(depth - 1)}):
        if is_read:
            assert read_record(x=deep).x == deep
        else:
            with pytest.raises(Undecodable, match="nested"):
                read_record(x=deep)


@pytest.mark.parametrize(
    ("hops", "read"), [("0", 0), ("000", 0), ("0012", 12), ("1234", 123), ("\u0661", 0), ("1.5", 0)]
)
def test_hops_are_read_from_their_first_three_digits(hops, read):
    assert read_task(headers={"Agentbus-Hops": hops}).hops == read


def test_who_sends_stands_once_at_the_end_of_the_chain():
    assert read_task(headers={"Agentbus-Chain": "planner,lead"}).chain == (
        "planner", "lead", "planner",
    )  # fmt: skip
    assert read_task(headers={"Agentbus-Chain": "lead,planner"}).chain == ("lead", "planner")


def test_the_header_goes_before_what_the_body_says_and_the_body_before_nothing():
    headers = {"Agentbus-Thread": "t5"}

    assert read_task(headers=headers, thread_id="t6").thread_id == "t5"
    assert read_task(thread_id="t6").thread_id == "t6"
    assert read_task().thread_id == "t1"
    assert read_task(reply_to="planner").reply_to == ""
    assert read_task(reply_to="boss").reply_to == "boss"
    assert read_task(expect="a newer word").expect == "answer"
    assert read_record(expect="nothing").expect == "nothing"


def test_a_time_is_told_from_any_other_text_and_is_utc():
    assert codec._time("2026-05-18T12:00:00+02:00") == datetime(2026, 5, 18, 10, tzinfo=UTC)
    assert codec._time("noon") is None
    assert codec._time(7) is None
    data = spelt({"payload": {"content": "x"}, "id": "t1"})
    task = codec.decode_task(TASK_SUBJECT, {}, data, STORED_AT)
    assert (task.created_at, task.expires_at) == (STORED_AT, STORED_AT + timedelta(days=7))
