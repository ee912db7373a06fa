# SPDX-License-Identifier: Apache-2.0
"""What of a task, its records and its receipt nobody has said, and what they tell of themselves."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from mcp_agentbus.store.task import Moment, Receipt, Record, Sent, Task

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
WHICH = {"task_id": "t1", "owner": "planner", "inbox": "coder"}
SAID = {"id": "t1", "to": "coder", "subject": "Count", "body": "x", "thread_id": "t1"}
TIMES = {"created_at": NOON, "expires_at": NOON}
WORKED = {**WHICH, "state": "working", "agent": "coder", "updated_at": NOON}
STORED = {"task_id": "t1", "to": "coder", "expires_at": NOON}


def record(**fields):
    return Record(**{**WORKED, **fields})


def receipt(**fields):
    return Receipt(**{**STORED, **fields})


def test_of_a_task_that_says_no_more_than_it_must_all_else_is_as_documented():
    asked = {**SAID, **TIMES, "from": "planner"}
    rest = {
        "priority": "normal", "priority_given": None, "task_type": "default", "in_reply_to": None,
        "deliver_at": None, "notify": "live", "notify_given": None, "chain": (), "hops": 0,
        "session": "", "request": "", "expect": "answer", "reply_to": "", "content_type": "text",
    }  # fmt: skip

    assert Task(**asked).model_dump(by_alias=True) == asked | rest
    assert Task(**SAID, **TIMES, sender="planner") == Task(**asked)


def test_of_a_record_that_says_no_more_than_it_must_all_else_is_as_documented():
    rest = {
        "priority_given": None, "notify_given": None, "state_given": None, "session": "",
        "attempts": 0, "subject": "", "thread_id": "", "priority": "normal", "owner_session": "",
        "notify": "live", "expect": "answer", "reply_to": "", "asked_by": "", "summary": "",
        "body": "", "artifacts": (), "progress": None, "reason": "", "late": False, "history": (),
    }  # fmt: skip

    assert record().model_dump() == WORKED | rest
    assert (record().chain, record().hops, record().unasked) == ((), 0, False)


def test_of_what_a_sender_keeps_that_says_no_more_than_it_must_all_else_is_as_documented():
    kept = {**WHICH, **TIMES}
    rest = {
        "priority_given": None, "notify_given": None, "subject": "", "thread_id": "",
        "priority": "normal", "owner_session": "", "notify": "live", "deliver_at": None,
        "request": "", "expect": "answer", "reply_to": "", "chain": (), "hops": 0,
        "task_type": "default", "in_reply_to": None, "answers": (), "body": "", "body_chars": 0,
        "seq": 0, "seen_revision": 0, "seen_at": None, "closed": False, "unasked": False,
    }  # fmt: skip

    assert Sent(**kept).model_dump() == kept | rest


def test_of_a_receipt_that_says_no_more_than_it_must_all_else_is_as_documented():
    rest = {
        "state": "stored", "duplicate": False, "recipient": "never seen", "last_seen": None,
        "wake": "not_requested", "reason": "", "notify": "live", "expect": "answer",
        "deliver_at": None,
    }  # fmt: skip

    assert receipt().model_dump() == STORED | rest


def test_what_is_only_known_here_of_a_record_is_never_written():
    known = record(chain=("a",), hops=1, unasked=True)

    assert known.model_dump() == record().model_dump()
    assert '"hops"' not in known.model_dump_json()


@pytest.mark.parametrize("number", [0, (1 << 63) - 1])
def test_a_count_of_the_servers_is_as_large_as_is_kept_of_one(number):
    fields = ("seq", "seen_revision", "body_chars")
    kept = Sent(**WHICH, **TIMES, **dict.fromkeys(fields, number))

    assert [getattr(kept, field) for field in fields] == [number] * 3


@pytest.mark.parametrize("number", [-1, 1 << 63])
@pytest.mark.parametrize("field", ["seq", "seen_revision", "body_chars"])
def test_a_count_that_is_none_is_refused(field, number):
    with pytest.raises(ValidationError):
        Sent(**WHICH, **TIMES, **{field: number})


@pytest.mark.parametrize(("attempts", "hops"), [(0, 0), ((1 << 31) - 1, 6)])
def test_attempts_and_hops_at_their_limits_are_taken(attempts, hops):
    assert record(attempts=attempts).attempts == attempts
    assert Sent(**WHICH, **TIMES, hops=hops).hops == hops


@pytest.mark.parametrize(("attempts", "hops"), [(-1, -1), (1 << 31, 7)])
def test_attempts_and_hops_beyond_their_limits_are_refused(attempts, hops):
    with pytest.raises(ValidationError):
        record(attempts=attempts)
    with pytest.raises(ValidationError):
        Sent(**WHICH, **TIMES, hops=hops)


@pytest.mark.parametrize(("named", "kept"), [("coder", "coder"), ("no agent\n", ""), (7, "")])
def test_whom_others_name_is_an_agent_or_nobody(named, kept):
    assert (record(reply_to=named).reply_to, record(asked_by=named).asked_by) == (kept, kept)


@pytest.mark.parametrize(
    ("state", "of_a_task", "of_a_word"),
    [
        ("completed", True, False),
        ("expired", True, False),
        ("failed", True, True),
        ("parked", True, True),
        ("needs_input", True, True),
        ("working", False, False),
        ("stored", False, False),
    ],
)
def test_of_a_word_its_sender_is_told_only_if_it_went_wrong(state, of_a_task, of_a_word):
    told = [record(state=state, expect=each).is_told for each in ("answer", "nothing")]

    assert told == [of_a_task, of_a_word]


def test_what_was_sent_in_one_go_and_expired_unread_is_told_together():
    def expired(task_id, *steps, after_s=1, **fields):
        times = [NOON, *(NOON + timedelta(seconds=after_s) for _ in steps[1:])]
        history = [
            Moment(state=each, at=at, by="coder") for each, at in zip(steps, times, strict=True)
        ]
        return record(task_id=task_id, **{"state": "expired", "history": history, **fields})

    unread = ("stored", "expired")
    ends = (expired(f"t{number}", *unread, after_s=number, subject="Count") for number in (1, 2))

    assert {each.told_with for each in ends} == {("2026-11-21T12:00:00.000Z", "Count")}
    assert expired("t1", "stored", "claimed", "expired").told_with == ("t1",)
    assert expired("t1", *unread, state="failed").told_with == ("t1",)


READ_LATER = "The task is read when coder next looks."
WORD = "It is shown once, at its reader's next call; it wakes nobody, and no result of it comes."


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({}, ""),
        ({"wake": "requested"}, ""),
        ({"wake": "held"}, READ_LATER),
        ({"wake": "not_known"}, READ_LATER),
        ({"wake": "held", "state": "refused"}, ""),
        ({"notify": "wake"}, "Its result may start a closed session of its sender."),
        ({"notify": "wake", "state": "refused"}, ""),
        ({"duplicate": True}, "An earlier call had stored it; nothing was stored again."),
        ({"expect": "nothing"}, WORD),
        ({"expect": "nothing", "state": "refused"}, ""),
        (
            {"state": "stored_here", "wake": "not_known", "notify": "wake"},
            "It is handed on once the bus is reached; a refusal then comes as its result.",
        ),
        (
            {"duplicate": True, "wake": "held", "expect": "nothing"},
            f"An earlier call had stored it; nothing was stored again. {READ_LATER} {WORD}",
        ),
    ],
)
def test_a_receipt_says_in_sentences_what_its_fields_do_not(fields, note):
    assert receipt(**fields).note == note


@pytest.mark.parametrize(
    ("written", "year"), [("0001-01-01T00:00:00+12:00", 2000), ("9999-12-31T23:00:00-12:00", 2200)]
)
def test_a_time_at_the_end_of_the_calendar_becomes_one_that_can_be_reckoned_with(written, year):
    assert record(updated_at=written).updated_at == datetime(year, 1, 1, tzinfo=UTC)
