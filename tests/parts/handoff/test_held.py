# SPDX-License-Identifier: Apache-2.0
"""Which of a session's claims its reader has, is to get, or goes on after."""

from datetime import UTC, datetime, timedelta

import pytest
from messages import read_record, read_task
from test_claims import DELIVERY

from mcp_agentbus.core import text
from mcp_agentbus.errors import BadInput
from mcp_agentbus.handoff.call import Answered, Calls, Given
from mcp_agentbus.handoff.claim import Claim
from mcp_agentbus.handoff.claims import Claims
from mcp_agentbus.handoff.dispatch.cause import way_of
from mcp_agentbus.handoff.intake.references import number_of
from mcp_agentbus.store.task import HELD, HOPS_MAX, Moment

AT = datetime(2026, 5, 18, 10, 0, tzinfo=UTC)


@pytest.fixture
def claims():
    claims = Claims(None, "coder", "session-1")
    for task_id, priority in (("a", "low"), ("b", "high"), ("c", "low")):
        task = read_task(id=task_id).model_copy(update={"priority": priority})
        claims.hold(Claim(task, DELIVERY, read_record(), 1))
    return claims


@pytest.mark.parametrize(
    ("priority", "left"), [(None, ["b", "c"]), ("low", ["c"]), ("high", ["b"]), ("normal", [])]
)
def test_a_reader_is_to_get_what_no_answer_has_given_of_the_priority_that_it_wants(
    claims, priority, left
):
    claims.give(["a"], Calls().begin())

    assert [claim.task.id for claim in claims.to_give(priority)] == left


def test_a_reader_goes_on_after_the_claim_that_the_answer_before_named_last(claims):
    number = number_of(claims.cursor("b"))

    assert [claim.task.id for claim in claims.after(number)] == ["c"]
    assert list(claims.after(number_of(None))) == list(claims.values())
    assert number_of(f"claim-{'9' * 12}") > 0


@pytest.mark.parametrize(
    "cursor", ["", "claim-", "claim--1", "peek-1", "claim-x", "claim-٣", "claim-" + 13 * "1"]
)
def test_what_is_no_cursor_of_an_inbox_is_refused(claims, cursor):
    with pytest.raises(BadInput, match="not one of this inbox"):
        number_of(cursor)


def test_what_its_reader_has_named_is_known_to_have_arrived_and_of_others_nothing(claims):
    call = Calls().begin()
    claims.give(["a"], call)
    at = claims.given("a").at
    for task_id in ("a", "b", "not held"):
        claims.named(task_id)

    assert [claims.given(task_id) for task_id in "ab"] == [Given(at), None]


def test_an_answer_to_a_question_is_given_by_the_first_answer_that_has_it(claims):
    calls, told = Calls(), []
    first, second = calls.begin(), calls.begin()
    claims.answers["a"] = Answered("m")
    claims.on_change = lambda: told.append(True)
    claims.give(["a", "b"], first)
    claims.give(["a"], second)

    assert claims.answers["a"].given.call is first
    assert claims.given("a").call is second
    assert list(claims.answers) == ["a"]
    assert told == [True, True]


def test_what_was_let_go_leaves_nothing_behind(claims):
    claims.answers["a"] = Answered("m")
    claims.let_go("a")
    claims.let_go("a")

    assert (list(claims), list(claims.answers)) == (["b", "c"], [])


@pytest.mark.parametrize("hops", [0, HOPS_MAX])
def test_what_another_session_ended_last_is_a_cause_here_as_it_says(claims, hops):
    others = Claims(None, "coder", "session-2")
    ended = {"at": text.stamp(text.now()), "hops": str(hops), "chain": ["a", "No", 7]}
    others.recall(*way_of(ended))

    assert others.cause() == (("a", "7"), hops)


@pytest.mark.parametrize("hops", [-1, HOPS_MAX + 1, "x", None])
def test_what_came_through_no_such_number_of_agents_is_no_cause(hops):
    with pytest.raises((ValueError, TypeError)):
        way_of({"at": text.stamp(text.now()), "hops": hops, "chain": []})


@pytest.mark.parametrize("state", [*sorted(HELD), "stored", "completed"])
def test_a_record_is_an_unheard_claim_if_it_is_held_by_this_session_that_does_not_know(
    claims, state
):
    record = read_record().model_copy(
        update={"state": state, "session": "session-1", "task_id": "d"}
    )

    assert claims.is_unheard(record) == (state in HELD)
    for known in ({"session": "session-2"}, {"task_id": "a"}):
        assert not claims.is_unheard(record.model_copy(update=known))


async def test_what_was_claimed_before_it_was_looked_for_was_missed_and_later_by_another(claims):
    def claim(*claimed, updated_at=AT):
        history = [Moment(state="claimed", at=at, by="coder") for at in claimed]
        history.append(Moment(state="working", at=AT - timedelta(days=9), by="coder"))
        changes = {"history": tuple(history), "updated_at": updated_at}
        return Claim(read_task(), DELIVERY, read_record().model_copy(update=changes), 1)

    later = text.now() + timedelta(hours=1)
    assert not claims.missed(claim(AT))  # nothing was looked for
    await claims.find([])

    assert claims.missed(claim(later, AT))
    assert not claims.missed(claim(AT, later))
    assert (claims.missed(claim()), claims.missed(claim(updated_at=later))) == (True, False)
