# SPDX-License-Identifier: Apache-2.0
"""A task has one end: what may be written over what stands, as a table."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mcp_agentbus.store.steps import (
    Lost,
    Same,
    Step,
    Write,
    as_asked,
    asked_in,
    first_record,
    next_record,
    question_of,
    sent_by_record,
    sent_of,
    step,
)
from mcp_agentbus.store.task import ENDS, HELD, Record, Sent, Task

NOW = datetime(2026, 5, 18, 10, 0, tzinfo=UTC)
DEADLINE = NOW + timedelta(hours=1)
SENT = Sent(
    task_id="t1", owner="planner", inbox="coder", created_at=NOW, expires_at=DEADLINE
)  # fmt: skip
FIRST = first_record(SENT)
TASK = Task(
    id="t1", sender="planner", to="coder", subject="Count", body="x" * 2001, priority="high",
    thread_id="t0", in_reply_to="t9", created_at=NOW, deliver_at=NOW + timedelta(minutes=1),
    expires_at=DEADLINE, notify="wake", chain=("lead", "planner"), hops=2, session="5e55",
    request="r1", reply_to="boss", task_type="review", expect="nothing",
)  # fmt: skip
MINE, OTHER = "session-1", "session-2"
SAYS = {"summary": "214 tests", "body": "", "artifacts": ()}


def stands(state, session=MINE, **fields):
    """Return the record of a task in a state, as a session left it."""
    return step(FIRST, state, "coder", session, NOW, **fields)


def by_worker(state, **fields):
    """Return a step of the session that claimed the task."""
    changes = {**SAYS, **fields}
    claimed = stands("claimed")
    return Step(state, "coder", claimed, session=MINE, deadline=DEADLINE, changes=changes)


CANCEL = Step("cancelled", "planner", FIRST, changes={"reason": "its sender withdrew it"})
EXPIRE = Step("expired", "planner", FIRST, changes={"reason": "its deadline passed"})
WORKING, DONE = by_worker("working"), by_worker("completed")
ASKING = by_worker("needs_input")

TABLE = [
    # what stands                                   wanted   outcome
    (None,                                          WORKING, Write),
    (None,                                          DONE,    Write),
    (None,                                          CANCEL,  Write),
    (None,                                          EXPIRE,  Write),
    (stands("claimed"),                             WORKING, Write),
    (stands("needs_approval"),                      DONE,    Write),
    (stands("working", OTHER),                      WORKING, Lost),
    (stands("working", OTHER),                      DONE,    Lost),
    (stands("working", OTHER),                      CANCEL,  Write),
    (stands("working", OTHER),                      EXPIRE,  Write),
    (stands("stored", ""),                          DONE,    Lost),
    (stands("stored", ""),                          CANCEL,  Write),
    (stands("needs_input", **SAYS),                 ASKING,  Same),
    (stands("needs_input", summary="215 tests?"),   ASKING,  Write),
    (stands("needs_approval", **SAYS),              ASKING,  Write),
    (stands("needs_input", OTHER, **SAYS),          ASKING,  Lost),
    (stands("working", **SAYS),                     WORKING, Write),
    (stands("completed", **SAYS),                   DONE,    Same),
    (stands("completed", summary="215 tests"),      DONE,    Lost),
    (stands("completed", OTHER, **SAYS),            DONE,    Lost),
    (stands("failed", **SAYS),                      DONE,    Lost),
    (stands("completed", **SAYS),                   WORKING, Lost),
    (stands("completed", **SAYS),                   CANCEL,  Lost),
    (stands("cancelled", "", summary="not needed"), CANCEL,  Same),
    (stands("cancelled", ""),                       DONE,    Lost),
    (stands("expired", ""),                         DONE,    Write),
    (stands("expired", ""),                         WORKING, Lost),
    (stands("expired", ""),                         CANCEL,  Lost),
    (stands("parked", ""),                          DONE,    Lost),
    (stands("parked", ""),                          CANCEL,  Lost),
]  # fmt: skip


def _name(value):
    if isinstance(value, Record):
        return f"{value.state} of {value.session or 'nobody'}"
    if isinstance(value, Step):
        return value.state
    return value.__name__ if isinstance(value, type) else "nothing"


@pytest.mark.promise(32)
@pytest.mark.parametrize(("found", "wanted", "outcome"), TABLE, ids=_name)
def test_what_a_step_may_do_depends_on_what_stands(found, wanted, outcome):
    assert type(next_record(found, wanted, NOW)) is outcome


def test_what_was_read_to_a_question_lets_its_worker_ask_the_same_anew():
    anew = replace(ASKING, anew=True)

    assert type(next_record(stands("needs_input", **SAYS), anew, NOW)) is Write


@pytest.mark.promise(32)
@pytest.mark.parametrize("end", sorted(ENDS))
@pytest.mark.parametrize("wanted", [WORKING, CANCEL, EXPIRE], ids=_name)
def test_no_step_but_a_workers_late_end_is_written_over_an_end(end, wanted):
    assert not isinstance(next_record(stands(end, OTHER), wanted, NOW), Write)


@pytest.mark.parametrize("state", sorted(HELD))
def test_what_is_written_goes_on_from_what_stands(state):
    found = stands(state, attempts=3)

    written = next_record(found, DONE, DEADLINE - timedelta(seconds=1)).value

    assert (written.state, written.attempts, written.summary) == ("completed", 3, "214 tests")
    assert [moment.state for moment in written.history] == ["stored", state, "completed"]
    assert not written.late


def test_the_first_step_goes_on_from_what_its_writer_knows():
    written = next_record(None, CANCEL, NOW).value

    assert [moment.state for moment in written.history] == ["stored", "cancelled"]
    assert (written.agent, written.session) == ("planner", "")


@pytest.mark.parametrize(
    ("found", "at"),
    [(stands("working"), DEADLINE), (stands("expired", ""), NOW)],
    ids=["by its clock", "by the record"],
)
def test_an_end_after_the_deadline_counts_as_late(found, at):
    assert next_record(found, DONE, at).value.late


def test_a_step_that_is_no_end_is_not_late():
    assert not next_record(stands("claimed"), WORKING, DEADLINE).value.late


def test_a_long_life_keeps_its_beginning_and_its_latest_steps():
    record = FIRST
    for minute in range(100):
        record = step(record, "working", "coder", MINE, NOW + timedelta(minutes=minute))

    assert len(record.history) == 40
    assert record.history[0].state == "stored"
    assert record.history[-1].at == NOW + timedelta(minutes=99)


@pytest.mark.parametrize(
    ("state", "said", "note"),
    [
        ("working", {"summary": "half"}, "half"),
        ("working", {"summary": "half", "note": "to you"}, "to you"),
        ("working", {"summary": "half", "body": "the first"}, "half\n\nthe first"),
        ("working", {"progress": 20.0}, "20 %"),
        ("working", {"progress": 0, "artifacts": ("a.md",)}, "0 %\n\nArtifact: a.md"),
        ("needs_input", {"body": "Which one?"}, "Which one?"),
        ("completed", {"summary": "all"}, ""),  # that stays in the record itself
        ("completed", {"summary": "all", "note": "to you"}, "to you"),
        ("working", {"summary": "x" * 500}, "x" * 500),
        ("working", {"summary": "x" * 501}, "x" * 499 + "…"),
    ],
)
def test_of_what_a_worker_says_with_a_step_the_beginning_stays_with_it(state, said, note):
    last = step(FIRST, state, "coder", MINE, NOW, reason="why", **said).history[-1]

    assert (last.note, last.reason) == (note, "why")


# What is copied from the one to the other.


def of(one, *names):
    return {name: getattr(one, name) for name in names}


def test_what_its_sender_keeps_of_a_task_is_what_the_task_says():
    sent = sent_of(TASK)

    same = (
        "subject", "thread_id", "priority", "notify", "created_at", "expires_at", "deliver_at",
        "request", "task_type", "in_reply_to", "expect", "reply_to", "chain", "hops",
    )  # fmt: skip
    assert of(sent, *same) == of(TASK, *same)
    names = (TASK.id, TASK.sender, TASK.to, TASK.session)
    assert (sent.task_id, sent.owner, sent.inbox, sent.owner_session) == names
    assert (sent.body, sent.body_chars) == ("x" * 2000, 2001)


@pytest.mark.parametrize(
    ("reply_to", "hops", "kept"),
    [("boss", 9, (TASK.chain, 6)), ("", 9, ((), 0))],
)
def test_how_a_task_came_is_kept_for_whoever_gets_its_result_as_well(reply_to, hops, kept):
    sent = sent_of(TASK.model_copy(update={"reply_to": reply_to, "hops": hops}))

    assert (sent.chain, sent.hops) == kept


def test_the_first_record_says_what_its_sender_keeps():
    sent = sent_of(TASK)
    record = first_record(sent)

    same = (
        "task_id", "owner", "inbox", "subject", "thread_id", "priority", "owner_session", "notify",
        "expect", "reply_to",
    )  # fmt: skip
    assert of(record, *same) == of(sent, *same)
    assert record.updated_at == record.history[0].at == NOW


def test_of_a_result_that_nobody_asked_for_it_is_kept_what_it_was_and_that_nobody_did():
    later = NOW + timedelta(minutes=5)
    record = step(first_record(sent_of(TASK)), "completed", "coder", MINE, later)
    sent = sent_by_record(record)

    same = ("task_id", "owner", "inbox", "subject", "thread_id", "priority")
    assert of(sent, *same) == of(record, *same)
    assert (sent.created_at, sent.expires_at) == (NOW, NOW + timedelta(days=7))
    assert (sent.notify, sent.unasked) == ("never", True)
    assert sent_by_record(record.model_copy(update={"history": ()})).created_at == later


@pytest.mark.parametrize("sent", [None, SENT.model_copy(update={"unasked": True})])
def test_a_record_that_nobody_asked_for_is_for_no_session_and_starts_nobody(sent):
    record = as_asked(first_record(sent_of(TASK)), sent)

    nobodys = {"unasked": True, "owner_session": "", "notify": "never", "expect": "answer"}
    assert of(record, *nobodys) == nobodys
    assert (record.reply_to, record.asked_by) == ("", "")


def test_a_record_says_of_its_task_what_its_owner_has_kept_and_else_what_its_worker_copied():
    theirs = {"owner_session": "other", "notify": "never", "expect": "answer", "reply_to": "x"}
    copied = first_record(sent_of(TASK)).model_copy(
        update={**theirs, "priority": "low", "subject": "Other", "thread_id": "other"}
    )
    kept = sent_of(TASK)
    own = (*theirs, "priority", "subject", "thread_id")

    assert of(as_asked(copied, kept), *own) == of(kept, *own)
    silent = kept.model_copy(update={"subject": "", "thread_id": ""})
    assert of(as_asked(copied, silent), "subject", "thread_id") == {
        "subject": "Other", "thread_id": "other",
    }  # fmt: skip


# What is asked.


@pytest.mark.parametrize(
    ("states", "asker", "is_asked"),
    [
        (["needs_input"], "coder", True),
        (["needs_approval", "stored", "claimed"], "coder", True),  # its worker has died
        (["needs_input", "working"], "coder", False),
        (["needs_input", "stored"], "no agent\n", False),
        (["claimed"], "coder", False),
        (["needs_input", "cancelled"], "coder", False),
    ],
)
def test_a_question_stands_until_its_worker_goes_on_or_its_task_ends(states, asker, is_asked):
    record = FIRST
    for number, state in enumerate(states):
        said = {} if number else {"note": "Which one?"}
        record = step(record, state, asker, MINE, NOW, **said)

    asked = question_of(record)

    assert (asked is not None) is is_asked
    assert asked_in(record) == ("Which one?" if is_asked else "")


def test_what_is_asked_is_all_that_its_worker_says_as_long_as_that_stands():
    record = stands("needs_input", summary=" Which? ", body="A or B.\n", artifacts=("a.txt",))

    assert asked_in(record) == "Which?\n\nA or B.\n\nArtifact: a.txt"
