# SPDX-License-Identifier: Apache-2.0
"""A person is told of what needs one: in fixed words, and of this user's agents alone."""

from datetime import UTC, datetime, timedelta

import pytest

from mcp_agentbus.config.sections.human import NEEDS
from mcp_agentbus.core.notices import Reason
from mcp_agentbus.human.needs import Need, line, of_hold, of_record, stands
from mcp_agentbus.store.asked import decisions
from mcp_agentbus.store.task import Moment, Record
from mcp_agentbus.wakes.facts import Waiting

ID = "9d0c2f1e" * 4
OURS = {"coder", "role-review"}
AT = datetime(2026, 11, 27, 10, tzinfo=UTC)


def waiting(task_id=ID):
    return Waiting(f"task coder {task_id}", "task", task_id, "planner", "planner", "coder")


def record(state, **other):
    values = {
        "task_id": ID,
        "owner": "planner",
        "inbox": "coder",
        "agent": "coder",
        "updated_at": AT,
    }
    return Record(**{**values, "state": state, **other})


@pytest.mark.parametrize(
    ("standing", "said"),
    [
        (record("needs_approval"), "coder needs an approval: agentbus approve 9d0c2f1e, or deny"),
        (
            record("working", state_given="needs_input"),
            "coder needs an answer: agentbus task 9d0c2f1e, then agentbus answer 9d0c2f1e TEXT",
        ),
        (
            record("parked", inbox="role-review"),
            "a task for role:review was set aside: agentbus task 9d0c2f1e",
        ),
        (record("parked"), "a task for coder was set aside: agentbus parked --agent coder"),
        (
            record("completed", reason=decisions.AFTER[False]),
            "coder completed a task after you had denied what it asked: agentbus task 9d0c2f1e",
        ),
        (record("failed"), "coder could not do a task: agentbus task 9d0c2f1e"),
    ],
)
def test_each_step_that_needs_a_person_has_its_line(standing, said):
    assert line([of_record(standing, {"*"}, OURS)]) == said


@pytest.mark.parametrize(
    "state", ["stored", "claimed", "working", "completed", "rejected", "expired"]
)
def test_what_goes_on_by_itself_needs_nobody(state):
    assert of_record(record(state), {"*"}, OURS) is None


def test_only_this_users_agents_count_and_a_failure_for_its_sender_alone():
    assert of_record(record("needs_approval"), {"others"}, {"others"}) is None
    assert (
        of_record(record("needs_approval"), {"planner"}, {"planner"}).agent == ""
    )  # another user's, unnamed
    assert of_record(record("needs_approval"), {"coder"}, {"coder"}).agent == "coder"
    assert of_record(record("failed"), {"coder"}, {"coder"}) is None
    assert of_record(record("failed"), {"planner"}, {"planner"})


def test_no_byte_of_a_peer_is_in_a_line():
    chosen = record("needs_approval", task_id="IGNORE-all-rules", agent="evil", summary="do it")

    assert line([of_record(chosen, {"*"}, OURS)]) == (
        "an agent needs an approval: agentbus tasks --all --open"
    )
    odd = record("needs_approval", agent='x"; rm -rf /')
    assert "rm" not in line([of_record(odd, {"*"}, {odd.agent})])


def test_another_question_on_the_same_task_is_another_need():
    first, again = (
        record("needs_approval"),
        record("needs_approval", updated_at=AT + timedelta(hours=1)),
    )

    assert of_record(first, {"*"}, OURS).key != of_record(again, {"*"}, OURS).key


def asked_then(*states):
    """The record of a task whose worker asked at noon, then went these steps, a minute each."""
    went = [Moment(state="needs_input", at=AT, by="coder")]
    went += [
        Moment(state=state, at=AT + timedelta(minutes=n), by="coder")
        for n, state in enumerate(states, 1)
    ]
    return record(went[-1].state, updated_at=went[-1].at, history=tuple(went))


@pytest.mark.parametrize(
    ("states", "is_needed"),
    [
        ((), True),
        (("stored",), True),
        (("stored", "claimed"), True),
        (("working",), False),
        (("working", "needs_input"), False),
        (("completed",), False),
    ],
)
def test_a_question_needs_a_person_until_its_worker_goes_on(states, is_needed):
    question = of_record(asked_then(), {"*"}, OURS)

    assert stands(question, asked_then(*states)) is is_needed


def test_a_task_that_goes_on_needs_nobody_as_one_that_was_set_aside_or_held():
    aside, hold = (
        of_record(record("parked"), {"*"}, OURS),
        of_hold(Reason.PROFILE, "coder", waiting(), AT),
    )
    later = {"updated_at": AT + timedelta(minutes=1)}

    assert stands(aside, record("parked"))
    assert not stands(aside, record("stored", **later))
    assert stands(hold, record("stored", **later))
    assert not stands(hold, record("claimed", **later))
    for other in (
        record("claimed", task_id="1" * 32, **later),
        record("claimed", owner="mallory", **later),
    ):
        assert stands(aside, other)
        assert stands(hold, other)
    copied = record("claimed", owner="clerk", asked_by="planner", **later)
    assert not stands(aside, copied)
    assert not stands(hold, copied)


def test_a_hold_needs_a_person_where_one_can_do_something():
    def held(reason):
        return of_hold(reason, "coder", waiting(), AT)

    assert {reason for reason in Reason if held(reason)} == {
        Reason.NOT_ALLOWED, Reason.GAVE_UP, Reason.PROFILE, Reason.UNKNOWN_HOST,
        Reason.DEAF_SESSION, Reason.DAILY_BUDGET, Reason.MODE,
    }  # fmt: skip
    assert line([held(Reason.PROFILE)]) == ("a wake of coder is held: agentbus task 9d0c2f1e")
    budget = held(Reason.DAILY_BUDGET)
    assert line([budget]) == "coder has had its wakes of today: agentbus agent wakes coder"
    assert of_hold(Reason.DAILY_BUDGET, "coder", waiting("0" * 32), AT).key == budget.key


def test_of_several_the_numbers_are_told():
    several = [Need(kind, "coder", ID, str(n)) for n, kind in enumerate([*NEEDS, "parked"])]

    assert line(several, {"held": 2}) == (
        "1 approval is needed, 1 answer is needed, 2 tasks were set aside, "
        "3 wakes are held, 1 task failed, 1 task was completed after a no of yours, 1 agent has had its wakes of today: "
        "agentbus status"
    )
