# SPDX-License-Identifier: Apache-2.0
"""A task has one end: what may be written over what stands, as a table."""

from datetime import UTC, datetime, timedelta

import pytest

from mcp_agentbus.store.steps import Lost, Same, Step, Write, first_record, next_record, step
from mcp_agentbus.store.task import ENDS, HELD, Record, Sent

NOW = datetime(2026, 5, 18, 10, 0, tzinfo=UTC)
DEADLINE = NOW + timedelta(hours=1)
SENT = Sent(
    task_id="t1", owner="planner", inbox="coder", created_at=NOW, expires_at=DEADLINE
)  # fmt: skip
FIRST = first_record(SENT)
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
