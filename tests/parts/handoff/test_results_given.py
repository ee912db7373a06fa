# SPDX-License-Identifier: Apache-2.0
"""What becomes of results that a session has taken: given, seen, given back or handed over."""

from datetime import timedelta

import pytest
from results_stand_in import DEADLINE, NOON, Results, ended, kept

from mcp_agentbus.errors import BadInput, BusUnreachable, UnknownTask
from mcp_agentbus.handoff.call import Calls, Given
from mcp_agentbus.handoff.ends.awaited import Awaited
from mcp_agentbus.store import subjects
from mcp_agentbus.store.steps import sent_by_record

LATER = NOON + timedelta(minutes=1)


@pytest.fixture
def calls():
    return Calls()


def test_what_is_given_again_as_a_line_was_given_whole_before_unless_that_was_lost(
    results, outcomes, calls
):
    lost, read, third = calls.begin(), calls.begin(), calls.begin()
    one, other = (results.take(ended(task_id)).record for task_id in ("t1", "t2"))
    outcomes.give([one], lost)
    outcomes.give([other], read)
    lost.lost()
    results.at = LATER

    outcomes.give([one, other], third)

    given = {task_id: each.given for task_id, each in outcomes.taken.items()}
    assert given == {"t1": Given(LATER, third), "t2": Given(NOON, third)}


def test_what_was_looked_up_and_not_taken_does_not_count_as_given(results, outcomes, calls):
    results.take(ended())

    outcomes.give([ended(), ended("t2")], calls.begin())

    assert [each.given for each in outcomes.taken.values()] == [None]


async def test_only_what_has_arrived_counts_as_seen(results, outcomes, calls):
    arrived, lost, under_way = calls.begin(), calls.begin(), calls.begin()
    given = {"t1": arrived, "t2": lost, "t3": under_way, "t4": None}
    taken = {
        task_id: results.take(ended(task_id), delivered=True, given=call and Given(NOON, call))
        for task_id, call in given.items()
    }
    for task_id in given:
        results.put(kept(task_id))
    arrived.answered(surely=True)
    lost.lost()

    await outcomes.confirm(calls.begin())

    seen = {"seen_revision": taken["t1"].revision, "seen_at": NOON, "closed": True}
    assert results.standing(kept("t1")) == kept("t1", **seen)
    assert [results.standing(kept(each)) for each in ("t2", "t3", "t4")] == [
        kept(each) for each in ("t2", "t3", "t4")
    ]
    assert (results.finished, list(outcomes.taken)) == ([taken["t1"].revision], ["t2", "t3", "t4"])


async def test_where_whoever_shows_results_says_so_all_that_was_given_counts_as_seen(
    results, outcomes, calls
):
    lost = calls.begin()
    results.take(ended("t1"), given=Given(NOON, calls.begin()))
    results.take(ended("t2"), given=Given(NOON, lost))
    results.take(ended("t3"))
    lost.lost()

    await outcomes.confirm()

    assert list(outcomes.taken) == ["t2", "t3"]


@pytest.mark.parametrize("state", ["completed", "needs_input"])
async def test_what_was_sent_is_kept_before_it_counts_as_seen(results, outcomes, calls, state):
    taken = results.take(ended(state=state), given=Given(NOON, calls.begin()))
    results.under_way = [kept(request="r1")]

    await outcomes.confirm()

    seen = {"seen_revision": taken.revision, "seen_at": NOON, "closed": state == "completed"}
    assert results.standing(kept()) == kept(request="r1", **seen)


async def test_of_what_came_over_plain_nats_it_is_kept_that_it_was_seen(results, outcomes, calls):
    taken = results.take(ended(), given=Given(NOON, calls.begin()))

    await outcomes.confirm()

    seen = {"seen_revision": taken.revision, "seen_at": NOON, "closed": True}
    assert results.standing(kept()) == sent_by_record(ended()).model_copy(update=seen)


async def test_what_another_session_has_noted_as_seen_is_not_written_again(
    results, outcomes, calls
):
    taken = results.take(ended(), delivered=True, given=Given(NOON, calls.begin()))
    noted = kept(seen_revision=taken.revision, seen_at=NOON - timedelta(minutes=1))
    results.put(noted)

    await outcomes.confirm()

    assert results.standing(noted) == noted
    assert (results.finished, results.taken) == ([taken.revision], {})


async def test_what_cannot_be_noted_as_seen_is_given_again_and_holds_up_no_other(
    results, outcomes, calls
):
    for task_id in ("t1", "t2"):
        results.take(ended(task_id), given=Given(NOON, calls.begin()))
    results.fails[subjects.sent_subject("planner", "coder", "t1")] = BusUnreachable()

    await outcomes.confirm()

    assert list(outcomes.taken) == ["t1"]
    assert results.standing(kept("t2")).closed


async def test_a_fault_of_this_program_is_raised(results, outcomes, calls):
    results.take(ended(), given=Given(NOON, calls.begin()))
    results.fails[subjects.sent_subject("planner", "coder", "t1")] = ZeroDivisionError()

    with pytest.raises(ZeroDivisionError):
        await outcomes.confirm()


async def test_a_taken_result_that_was_offered_is_given_back_to_be_offered_again(
    results, outcomes, calls
):
    lost = calls.begin()
    shown = results.take(ended("t1"), delivered=True, given=Given(NOON, calls.begin()))
    new = results.take(ended("t2"), delivered=True, given=Given(NOON, lost))
    looked_up = results.take(ended("t3"))
    lost.lost()

    for each in (shown.record, new.record, looked_up.record, ended("t4")):
        await outcomes.give_back(each)

    assert results.given_back == [(new.revision, 0.0)]
    assert (list(outcomes.taken), outcomes.unread) == (["t1"], {"t2", "t3"})


@pytest.mark.parametrize("ends_in_order", [True, False])
async def test_a_session_that_leaves_gives_back_what_may_not_have_arrived_and_keeps_what_it_sent(
    results, outcomes, calls, ends_in_order
):
    call = calls.begin()
    shown = results.take(ended("t1"), delivered=True, given=Given(NOON, call))
    new = results.take(ended("t2"), delivered=True)
    results.take(ended("t3"))
    call.answered(surely=True)
    results.put(kept("t1"))
    results.under_way, results.missing = [kept("t4")], [kept("t5")]

    await outcomes.leave(calls.begin() if ends_in_order else None)

    back = [new] if ends_in_order else [shown, new]
    assert results.given_back == [(each.revision, 0.0) for each in back]
    assert results.finished == ([shown.revision] if ends_in_order else [])
    assert results.standing(kept("t1")).closed is ends_in_order
    assert [results.standing(kept(each)) for each in ("t4", "t5")] == [kept("t4"), kept("t5")]
    assert results.taken == {}


async def test_what_cannot_be_given_back_as_a_session_leaves_is_offered_again_by_itself(
    results, outcomes, monkeypatch
):
    async def fails(*_):
        raise BusUnreachable

    results.take(ended(), delivered=True)
    results.missing = [kept("t5")]
    monkeypatch.setattr(results, "give_back", fails)

    await outcomes.leave(None)

    assert (results.taken, results.standing(kept("t5"))) == ({}, kept("t5"))


async def test_another_session_goes_on_with_all_that_one_has_handed_over(
    results, outcomes, calls, monkeypatch
):
    call, given_up = calls.begin(), calls.given_up()
    shown = results.take(ended("t1"), delivered=True, given=Given(NOON, call))
    new = results.take(ended("t2"), delivered=True)
    results.sent("t3")
    outcomes.sent["t4"] = Awaited("coder", DEADLINE, is_stored=False)
    other = Results(monkeypatch)
    other.messages, other.at = results.messages, LATER
    for task_id in ("t1", "t2"):
        results.put(kept(task_id))

    handed = await outcomes.hand_over()
    await other.outcomes.take_over(handed, given_up)

    assert handed == {"given": ["t1"], "sent": {"t3": ("coder", DEADLINE.isoformat())}}
    assert results.given_back == [(shown.revision, 0.0), (new.revision, 0.0)]
    assert (outcomes.taken, outcomes.sent, outcomes.unread) == ({}, {}, set())
    assert other.outcomes.sent == {"t3": Awaited("coder", DEADLINE)}
    assert other.outcomes.unread == {"t3"}
    assert other.taken == {"t1": (shown.revision, None, ended("t1"))}
    assert other.outcomes.taken["t1"].given == Given(LATER, given_up)


async def test_what_was_lost_before_another_session_goes_on_is_told_there(results, outcomes, calls):
    sent = {"t1": ("coder", DEADLINE.isoformat())}
    await outcomes.take_over({"given": [], "sent": sent}, calls.given_up())

    await outcomes.results(5)

    assert results.standing(ended("t1")).state == "failed"


async def test_what_is_handed_over_and_names_no_task_or_nothing_to_tell_is_left_out(
    results, outcomes, calls
):
    results.put(ended("t2", "working"))
    results.put(ended("t1"))
    deadline = DEADLINE.isoformat()
    sent = {"*": ("coder", deadline), "t4": ("*", deadline), "t5": ("coder", deadline)}

    await outcomes.take_over({"given": ["*", "t2", "t3"], "sent": sent}, calls.given_up())

    assert outcomes.sent == {"t5": Awaited("coder", DEADLINE)}
    assert (outcomes.unread, results.taken) == ({"t5"}, {})


@pytest.mark.parametrize(
    ("is_kept", "is_awaited"),
    [(True, True), (True, False), (False, True)],
    ids=["kept", "kept, of another session", "not kept yet"],
)
async def test_what_became_of_a_task_is_the_word_of_the_inbox_it_was_sent_to(
    results, outcomes, is_kept, is_awaited
):
    revision = results.put(ended(subject="Forged"))
    results.put(ended(inbox="mallory", summary="Forged"))
    if is_awaited:
        results.sent("t1", unread=False)
    if is_kept:
        results.put(kept())

    [record] = await outcomes.results_of(["t1"])

    assert record == ended(subject="Count" if is_kept else "Forged")
    assert results.taken == {"t1": (revision, None, record)}


@pytest.mark.parametrize("state", ["completed", "needs_input"])
async def test_what_became_of_a_task_that_was_sent_over_plain_nats_is_unasked(
    results, outcomes, state
):
    results.put(ended(state=state))

    [record] = await outcomes.results_of(["t1"])

    assert record == ended(state=state).model_copy(update={"unasked": True, "notify": "never"})


@pytest.mark.parametrize("state", [None, "working"])
async def test_of_a_task_that_goes_on_there_is_nothing_to_tell(results, outcomes, state):
    results.put(kept())
    if state:
        results.put(ended(state=state))

    assert await outcomes.results_of(["t1"]) == []


@pytest.mark.parametrize(
    ("state", "seen", "is_told"),
    [
        ("needs_input", 0, True),
        ("needs_input", 1, False),
        ("completed", 0, True),
        ("completed", 1, True),
    ],
)
async def test_a_question_that_was_seen_is_not_asked_again_and_an_end_is_told_again(
    results, outcomes, state, seen, is_told
):
    assert results.put(ended(state=state)) == 1
    results.put(kept(seen_revision=seen))

    told = await outcomes.results_of(["t1"])

    assert told == [ended(state=state)] * is_told


@pytest.mark.parametrize("state", ["completed", "needs_input"])
async def test_of_a_task_whose_end_was_asked_for_nothing_more_is_awaited(results, outcomes, state):
    """Else each look would sweep once its deadline is over, and count it as lost with a stream."""
    results.sent("t1")
    results.put(kept())
    results.put(ended(state=state))

    await outcomes.results_of(["t1"])

    assert list(outcomes.sent) == ([] if state == "completed" else ["t1"])


@pytest.mark.parametrize("where", ["under_way", "unkept"])
async def test_what_was_sent_is_known_though_it_is_kept_only_as_it_is_asked_for(
    results, outcomes, where
):
    outcomes.swept_at = results.clock_s
    setattr(results, where, [kept(owner_session="other")])
    results.put(ended())

    assert await outcomes.results_of(["t1"]) == [ended(owner_session="other")]


async def test_what_became_of_many_tasks_is_read_at_once(results, outcomes):
    outcomes.swept_at = results.clock_s
    many = [f"t{number}" for number in range(50)]
    for task_id in many:
        results.put(kept(task_id))
    for task_id in ("t7", "t3"):
        results.put(ended(task_id))

    assert await outcomes.results_of(many) == [ended("t3"), ended("t7")]
    assert results.requests == 1


async def test_what_an_agent_has_not_sent_it_does_not_wait_for(results, outcomes):
    with pytest.raises(UnknownTask, match="planner sent no task t9"):
        await outcomes.results_of(["t9"])


async def test_nobody_waits_for_the_result_of_a_word(results, outcomes):
    results.put(kept(expect="nothing"))

    with pytest.raises(BadInput, match="Task t1 is a word that wants no answer"):
        await outcomes.results_of(["t1"])
