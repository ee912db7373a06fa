# SPDX-License-Identifier: Apache-2.0
"""Bytes on the bus: what was written is read, also what version 0.1 wrote."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
import strategies
from hypothesis import assume, given
from messages import (
    RECORD,
    RECORD_SUBJECT,
    SEED_RESULT,
    SEED_RESULT_SUBJECT,
    SEED_TASK,
    STORED_AT,
    read_record,
    read_sent,
    read_task,
    record_again,
    sent_again,
    task_again,
)

from mcp_agentbus.core import text
from mcp_agentbus.store import codec, subjects, task

# What was written is read.


@given(strategies.tasks())
def test_a_task_is_read_as_it_was_written(one):
    """Subject, headers and bytes together hold all of it."""
    assert task_again(one) == one


@given(strategies.records())
def test_a_record_is_read_as_it_was_written(one):
    """Subject and bytes together hold all of it."""
    assert record_again(one) == one


def test_that_nobody_has_sent_the_task_of_a_record_is_not_written_into_it():
    """Whoever reads it knows by what the sender's side keeps."""
    record = read_record().model_copy(update={"unasked": True})

    assert "unasked" not in json.loads(codec.encode_record(record))


@given(strategies.sents())
def test_a_senders_record_is_read_as_it_was_written(one):
    """Subject and bytes together hold all of it."""
    assert sent_again(one) == one


@given(strategies.hostile_texts)
def test_a_subject_that_may_be_sent_arrives_unchanged(value):
    """What reading does to bad subjects, it does not do to good ones."""
    try:
        subject = task.check_subject(value)
    except task.BadInput:
        assume(False)

    assert read_task(subject=subject).subject == subject


def test_the_example_in_the_docstring_is_true():
    """A task begins as the docstring shows it."""
    one = task_again(read_task(headers={subjects.H_TASK: "9d0c"}))

    expected = b'{"v":1,"type":"task.request","id":"9d0c","from":"planner",'
    assert codec.encode_task(one)[: len(expected)] == expected


def test_headers_hold_ids_and_numbers_only():
    """A listener reads them without the body; nothing in them is free text."""
    one = read_task(headers={subjects.H_SESSION: "s1"})

    assert codec.task_headers(one) == {
        "Agentbus-Task": "t1",
        "Agentbus-Thread": "t1",
        "Agentbus-Hops": "0",
        "Agentbus-Chain": "planner",
        "Agentbus-Session": "s1",
    }


# The format that this one grew from.


def test_a_task_of_the_seed_is_read():
    """With what it does not say filled in."""
    subject = "agentbus.coder.tasks.normal.main"
    one = codec.decode_task(subject, {}, strategies.spelt(SEED_TASK), STORED_AT)

    assert (one.id, one.sender, one.to) == ("task-20260518-0001", "main", "coder")
    assert (one.subject, one.body) == ("Review PR org/repo#123",) * 2
    assert (one.task_type, one.priority, one.notify) == ("review_pr", "normal", "live")
    assert (one.thread_id, one.chain, one.hops) == (one.id, ("main",), 0)
    assert one.created_at == STORED_AT
    assert one.expires_at == STORED_AT + timedelta(days=7)


def test_a_result_of_the_seed_is_read():
    """Its worker is the one whose inbox the subject names."""
    one = codec.decode_record(SEED_RESULT_SUBJECT, strategies.spelt(SEED_RESULT))

    assert (one.task_id, one.owner, one.inbox) == ("task-20260518-0001", "main", "coder")
    assert (one.state, one.agent, one.body) == ("completed", "coder", "...agent output...")
    assert one.updated_at == datetime(2026, 5, 18, tzinfo=UTC)
    assert one.ended


def test_a_failure_of_the_seed_without_a_result_is_read():
    """Version 0.1 then writes `error` instead; it is kept."""
    failed = {**SEED_RESULT, "status": "failed", "error": "exit 1"}
    del failed["result"]
    one = codec.decode_record(SEED_RESULT_SUBJECT, strategies.spelt(failed))

    assert (one.state, one.body) == ("failed", "")
    assert json.loads(codec.encode_record(one))["error"] == "exit 1"


@pytest.mark.promise(17)
def test_the_task_inside_a_seed_result_survives_rewriting():
    """What this version does not read there is written again."""
    one = codec.decode_record(SEED_RESULT_SUBJECT, strategies.spelt(SEED_RESULT))
    again = json.loads(codec.encode_record(one))

    assert again["task"] == SEED_RESULT["task"]
    assert again.keys() >= SEED_RESULT.keys()
    assert again["result"] == SEED_RESULT["result"]
    assert again["status"] == SEED_RESULT["status"]


def _types(value):
    return (
        {key: _types(one) for key, one in value.items()} if isinstance(value, dict) else type(value)
    )


@given(strategies.tasks())
def test_our_tasks_have_every_field_of_the_seed(one):
    """With the same types, so that version 0.1 can read them."""
    fields = json.loads(codec.encode_task(one))

    assert _types(SEED_TASK).items() <= _types(fields).items()
    assert (fields["id"], fields["from"], fields["to"]) == (one.id, one.sender, one.to)
    assert fields["payload"] == {"content": one.body}
    assert fields["type"] == "task.request"
    assert fields["reply_to"] == one.sender


@given(strategies.records().filter(lambda one: one.ended))
def test_our_results_have_every_field_of_the_seed(one):
    """Once they are results; the task inside names itself, but a record does not hold its body."""
    fields = json.loads(codec.encode_record(one))

    assert fields.keys() >= SEED_RESULT.keys()
    assert (fields["type"], fields["status"]) == ("task.result", one.state)
    assert fields["result"] == one.body
    assert fields["task"] == {
        "id": one.task_id,
        "from": one.owner,
        "to": one.inbox,
        "reply_to": one.owner,
        "type": "task.request",
    }


def test_a_record_that_is_no_result_yet_has_no_time_of_completion():
    """Version 0.1 would take it for an end."""
    assert "completed_at" not in json.loads(codec.encode_record(read_record(state="working")))
    assert "completed_at" in json.loads(codec.encode_record(read_record(state="failed")))


# Times.


@pytest.mark.parametrize(
    ("given_time", "at"),
    [
        ("2026-05-18T12:30:00Z", datetime(2026, 5, 18, 12, 30, tzinfo=UTC)),
        ("2026-05-18T12:30:00", datetime(2026, 5, 18, 12, 30, tzinfo=UTC)),
        ("2026-05-18T12:30:00+02:00", datetime(2026, 5, 18, 10, 30, tzinfo=UTC)),
        ("2026-05-18T12:30:00.250-07:00", datetime(2026, 5, 18, 19, 30, 0, 250_000, UTC)),
        ("2026-05-18", datetime(2026, 5, 18, tzinfo=UTC)),
    ],
)
def test_a_deadline_means_the_same_with_and_without_a_zone(given_time, at):
    """Without a zone it is UTC; afterwards it always is."""
    times = dict.fromkeys(("created_at", "expires_at", "deliver_at"), given_time)
    one, sent = read_task(**times), read_sent(**times)

    assert {one.created_at, one.expires_at, one.deliver_at} == {at}
    assert {sent.created_at, sent.expires_at, sent.deliver_at} == {at}
    assert one.expires_at.tzinfo is UTC


@pytest.mark.promise(17)
@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "soon",
        "2026-13-45",
        7,
        10**400,
        True,
        ["2026-05-18"],
    ],
)
def test_a_time_of_a_task_that_is_none_is_treated_as_absent(value):
    """Its age limit counts from the storing."""
    one = read_task(created_at=value, expires_at=value, deliver_at=value)

    assert one.created_at == STORED_AT
    assert one.expires_at == STORED_AT + timedelta(days=7)
    assert one.deliver_at is None


@pytest.mark.parametrize(
    ("given", "year"),
    [
        ("9999-12-31T23:59:59-14:00", 2200),
        ("2500-01-01", 2200),
        ("0001-01-01T00:00:00+14:00", 2000),
        ("1970-01-01", 2000),
    ],
)
def test_a_time_with_which_nobody_can_reckon_is_the_nearest_with_which_one_can(given, year):
    """A server counts nanoseconds in 64 bits, and the calendar ends with the year 9999."""
    bound = datetime(year, 1, 1, tzinfo=UTC)

    task = read_task(created_at=given, expires_at=given, deliver_at=given)
    record = read_record(updated_at=given)

    assert task.created_at == task.expires_at == task.deliver_at == record.updated_at == bound


def test_a_record_is_no_younger_than_what_is_stored():
    """Else it would be a claim for as long as it liked."""
    data = strategies.spelt({**RECORD, "updated_at": "2026-05-18T12:00:00Z"})

    assert codec.decode_record(RECORD_SUBJECT, data, STORED_AT).updated_at == STORED_AT
    little = STORED_AT + timedelta(seconds=30)  # as clocks differ
    data = strategies.spelt({**RECORD, "updated_at": text.stamp(little)})
    assert codec.decode_record(RECORD_SUBJECT, data, STORED_AT).updated_at == little


@pytest.mark.parametrize("created_at", ["9999-12-31", "0001-01-01", "2020-01-01T00:00:00Z"])
def test_without_a_deadline_the_sender_clock_does_not_matter(created_at):
    """A task is not over when it arrives, and no date is too far."""
    assert read_task(created_at=created_at).expires_at == STORED_AT + timedelta(days=7)


def test_a_time_without_a_zone_is_written_as_utc_on_every_machine(monkeypatch):
    """Not as the local time of whoever writes it."""
    naive = STORED_AT.replace(tzinfo=None)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert text.stamp(naive) == text.stamp(STORED_AT) == "2026-05-18T10:00:00.000Z"
    finally:
        monkeypatch.undo()
        time.tzset()


@given(strategies.times)
def test_a_stamp_is_read_as_the_time_it_was_made_of(at):
    """To the millisecond."""
    stamp = text.stamp(at)

    assert stamp.endswith("Z")
    assert timedelta(0) <= at - datetime.fromisoformat(stamp) < timedelta(milliseconds=1)


def test_a_byte_order_mark_in_front_is_no_reason_to_park_a_task():
    """Some editors and shells write one."""
    data = b"\xef\xbb\xbf" + strategies.spelt(SEED_TASK)

    assert (
        codec.decode_task("agentbus.coder.tasks.normal.main", {}, data, STORED_AT).sender == "main"
    )
