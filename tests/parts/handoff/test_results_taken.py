# SPDX-License-Identifier: Apache-2.0
"""Which results a session takes: its agent's, as they were asked for, and none of another's."""

from dataclasses import replace

import pytest
from messages import read_record
from results_stand_in import DEADLINE, NOON, ended, kept

from mcp_agentbus.errors import BusUnreachable
from mcp_agentbus.handoff.call import Calls, Given
from mcp_agentbus.handoff.ends.awaited import Awaited
from mcp_agentbus.store.unseen import Looked, Unseen


async def test_of_what_may_have_ended_no_more_is_taken_than_is_wanted(results, outcomes):
    for task_id in ("t1", "t2"):
        results.put(kept(task_id))
        results.put(ended(task_id))
    results.sent("t1", "t2")

    assert await outcomes.results(1) == [ended("t1")]
    assert (list(outcomes.taken), outcomes.unread) == (["t1"], {"t2"})
    assert results.pulled["planner_results"] == []


async def test_of_many_that_may_have_ended_all_that_go_on_are_read_at_once(results, outcomes):
    """After a gap of the connection those are all that the session has sent."""
    open_ = [f"t{number:02}" for number in range(60)]
    for task_id in open_:
        results.put(kept(task_id))
    results.put(ended("t30", "working"))
    for task_id in ("t40", "t50"):
        results.put(ended(task_id))
    results.sent(*open_)

    assert await outcomes.results(1) == [ended("t40")]
    assert outcomes.unread == {"t50"}
    assert results.requests == 3


async def test_what_may_have_ended_is_read_again_where_that_could_not_be_read(
    results, outcomes, monkeypatch
):
    results.sent("t1", "t2")

    async def many(_, __):
        raise BusUnreachable

    monkeypatch.setattr(results, "many", many)
    with pytest.raises(BusUnreachable):
        await outcomes.results(5)
    assert outcomes.unread == {"t1", "t2"}


async def test_what_could_not_be_taken_of_what_was_heard_is_read_again(
    results, outcomes, monkeypatch
):
    for task_id in ("t1", "t2", "t3"):
        results.put(kept(task_id))
        results.put(ended(task_id))
    results.sent("t1", "t2", "t3")
    take = outcomes._take_told

    async def lost_at_the_second(told):
        if told.record.task_id == "t2":
            raise BusUnreachable
        await take(told)

    monkeypatch.setattr(outcomes, "_take_told", lost_at_the_second)
    with pytest.raises(BusUnreachable):
        await outcomes.results(5)
    assert outcomes.unread == {"t2", "t3"}


async def test_of_what_is_offered_so_many_are_taken_as_are_wanted_yet(results, outcomes):
    for task_id in ("t1", "t2", "t3"):
        results.put(kept(task_id))
    results.put(ended("t1"))
    results.sent("t1")
    results.offered = [[results.offer(ended(task_id)) for task_id in ("t2", "t3")]]

    assert await outcomes.results(3) == [ended("t1"), ended("t2"), ended("t3")]
    assert results.pulled["planner_results"] == [2]


async def test_where_all_that_is_offered_was_seen_more_is_asked_for_and_what_is_too_much_given_back(
    results, outcomes
):
    first = [results.offer(ended(f"s{number}")) for number in range(4)]
    for number, delivery in enumerate(first):
        results.put(kept(f"s{number}", seen_revision=delivery.seq))
    then = [results.offer(ended(f"t{number}")) for number in range(6)]
    for number in range(6):
        results.put(kept(f"t{number}"))
    results.offered = [first, then]

    assert await outcomes.results(4) == [ended(f"t{number}") for number in range(4)]
    assert results.pulled["planner_results"] == [4, 100]
    assert sorted(results.finished) == [each.seq for each in first]
    assert results.given_back == [(each.seq, 0.0) for each in then[4:]]


async def test_where_less_is_offered_than_is_wanted_that_was_all(results, outcomes):
    results.put(kept())
    results.offered = [[results.offer(ended())]]

    assert await outcomes.results(2) == [ended()]
    assert results.pulled["planner_results"] == [2]


async def test_of_a_task_of_ones_own_nothing_is_told_while_there_is_nothing(results, outcomes):
    for task_id in ("t1", "t2"):
        results.put(kept(task_id))
    results.put(ended("t2", "working"))
    results.sent("t1", "t2")

    assert await outcomes.results(5) == []
    assert (set(outcomes.sent), outcomes.unread, results.taken) == ({"t1", "t2"}, set(), {})


@pytest.mark.parametrize("is_kept", [True, False], ids=["kept", "not kept yet"])
@pytest.mark.parametrize("is_offered", [True, False], ids=["offered", "heard of"])
async def test_a_result_is_its_addressees_in_its_senders_words(
    results, outcomes, is_kept, is_offered
):
    """Whoever writes plain NATS chooses ids: another inbox has a record under the same one."""
    results.sent("t1", unread=not is_offered)
    delivery = results.offer(ended(subject="Forged", owner_session="other"), ago_s=0)
    results.put(ended(inbox="mallory", summary="Forged"))
    if is_kept:
        results.put(kept())
    results.offered = [[delivery]] if is_offered else []
    # What its sender keeps is a moment late; its worker's words hold until then.
    said = {} if is_kept else {"subject": "Forged", "owner_session": "other"}

    told = await outcomes.results(5)

    assert told == [ended().model_copy(update=said)]
    taken = (delivery.seq, delivery.seq if is_offered else None, told[0])
    assert results.taken == {"t1": taken}
    assert (outcomes.sent, results.given_back) == ({}, [])


@pytest.mark.parametrize(
    ("what", "ago_s", "sender_keeps"),
    [
        (ended(state="working"), 0, None),
        (ended(state="working"), 60, kept()),
        (ended(expect="nothing"), 60, kept(expect="nothing")),
        (ended(), 60, "seen"),
    ],
    ids=["at work", "at work, and kept", "a word", "seen"],
)
async def test_what_is_nothing_to_tell_is_finished_and_not_taken(
    results, outcomes, what, ago_s, sender_keeps
):
    delivery = results.offer(what, ago_s=ago_s)
    if sender_keeps:
        seen = kept(seen_revision=delivery.seq)
        results.put(seen if sender_keeps == "seen" else sender_keeps)
    results.offered = [[delivery]]

    assert await outcomes.results(5) == []
    assert (results.finished, results.given_back, results.taken) == ([delivery.seq], [], {})


async def test_what_cannot_be_read_is_finished_and_not_taken(results, outcomes):
    delivery = results.offer(ended())
    results.offered = [[replace(delivery, data=b"no record")]]

    assert await outcomes.results(5) == []
    assert (results.finished, results.taken) == ([delivery.seq], {})


@pytest.mark.parametrize("by", ["heard of", "asked for"])
async def test_what_was_seen_of_another_that_has_its_id_says_nothing_of_what_is_awaited(
    results, outcomes, by
):
    results.put(ended())
    results.put(ended(inbox="mallory"))
    results.put(kept(inbox="mallory", unasked=True))
    results.sent("t1")

    told = outcomes.results(5) if by == "heard of" else outcomes.results_of(["t1"])

    assert await told == [ended()]


@pytest.mark.parametrize("awaited_of", [None, "tester"])
async def test_what_nobody_has_kept_is_offered_again_while_it_may_be_kept_yet_then_it_is_unasked(
    results, outcomes, awaited_of
):
    if awaited_of:
        results.sent("t1", inbox=awaited_of, unread=False)
    early, late = (results.offer(ended(), ago_s=ago_s) for ago_s in (0.5, 1))
    results.offered = [[early], [late]]

    assert await outcomes.results(5) == []
    assert (results.given_back, results.taken) == ([(early.seq, 0.5)], {})
    [told] = await outcomes.results(5)
    assert told == ended().model_copy(update={"unasked": True, "notify": "never"})
    assert set(outcomes.sent) == ({"t1"} if awaited_of else set())


async def test_what_was_once_seen_and_not_asked_for_is_told_at_once(results, outcomes):
    results.put(kept(unasked=True))
    results.offered = [[results.offer(ended(), ago_s=0)]]

    [told] = await outcomes.results(5)

    assert (told.unasked, results.given_back) == (True, [])


@pytest.mark.parametrize(
    ("owner", "is_mine"), [("", True), ("session-1", True), ("gone", True), ("other", False)]
)
async def test_a_result_is_left_to_the_session_that_has_sent_its_task_while_that_lives(
    results, outcomes, owner, is_mine
):
    results.live = {"session-1", "other", ""}
    results.put(kept(owner_session=owner))
    delivery = results.offer(ended())
    results.offered = [[delivery]]

    told = await outcomes.results(5)

    assert [each.owner_session for each in told] == [owner] * is_mine
    assert results.given_back == ([] if is_mine else [(delivery.seq, 2.0)])
    assert results.finished == []


async def test_what_is_left_to_another_session_is_looked_at_once_and_nothing_is_waited_for(
    results, outcomes
):
    """Meanwhile the first of very many are offered again, and again."""
    results.live = {"other"}
    theirs = []
    for number in range(104):
        results.put(kept(f"t{number}", owner_session="other"))
        theirs.append(results.offer(ended(f"t{number}")))
    results.put(kept("mine"))
    mine = results.offer(ended("mine"))
    results.offered = [theirs[:5], [*theirs[5:], mine], theirs[:4], theirs[4:8]]

    assert await outcomes.results(5) == [ended("mine")]
    assert results.pulled["planner_results"] == [5, 100, 4]
    assert results.asked_of == ["other"]
    assert results.given_back == [(each.seq, 2.0) for each in (*theirs, *theirs[:4])]


async def test_whoever_gets_a_result_besides_has_a_copy_once_it_is_taken(results, outcomes):
    results.put(kept(reply_to="lead"))
    results.offered = [[results.offer(ended())]]

    [told] = await outcomes.results(5)

    copied = told.model_copy(
        update={"owner": "lead", "asked_by": "planner", "reply_to": "", "owner_session": ""}
    )
    assert results.standing(copied) == copied


async def test_a_newer_record_takes_the_place_of_what_is_taken_and_an_older_one_does_not(
    results, outcomes
):
    results.put(kept())
    older = results.offer(ended(state="needs_input"))
    newer = results.offer(ended())
    results.offered = [[older], [newer], [older]]

    assert [each.state for each in await outcomes.results(5)] == ["needs_input"]
    assert await outcomes.results(5) == [ended()]
    assert await outcomes.results(5) == [ended()]
    assert results.taken == {"t1": (newer.seq, older.seq, ended())}


async def test_what_is_offered_as_well_is_finished_once_it_counts_as_seen(results, outcomes):
    """Another session may have confirmed it meanwhile."""
    results.put(kept())
    delivery = results.offer(ended())
    results.sent("t1")
    await outcomes.results(5)
    results.put(kept(seen_revision=delivery.seq))
    results.offered = [[delivery]]
    await outcomes.results(5)

    assert results.taken == {"t1": (delivery.seq, delivery.seq, ended())}
    assert results.finished == []
    outcomes.give([outcomes.taken["t1"].record], Calls().begin())
    await outcomes.confirm()
    assert (results.finished, results.taken) == ([delivery.seq], {})


async def test_of_a_task_of_ones_own_what_another_session_has_seen_is_not_told_again(
    results, outcomes
):
    seq = results.put(ended())
    results.put(kept(seen_revision=seq))
    results.sent("t1")

    assert await outcomes.results(5) == []
    assert (results.taken, outcomes.sent, results.finished) == ({}, {}, [])


async def test_what_was_asked_for_goes_before_what_has_its_id_and_was_not(results, outcomes):
    asked, unasked = results.offer(ended()), results.offer(ended(inbox="mallory"))
    results.put(kept())
    results.offered = [[asked, unasked]]

    assert await outcomes.results(5) == [ended()]
    assert results.taken == {"t1": (asked.seq, asked.seq, ended())}
    assert results.given_back == [(unasked.seq, 2.0)]


async def test_what_has_its_id_and_was_not_asked_for_makes_way_for_what_was(results, outcomes):
    asked, unasked = results.offer(ended()), results.offer(ended(inbox="mallory"))
    results.put(kept())
    results.offered = [[unasked, asked]]

    assert await outcomes.results(5) == [ended()]
    assert results.taken == {"t1": (asked.seq, asked.seq, ended())}
    assert results.given_back == [(unasked.seq, 2.0)]


async def test_what_was_not_asked_for_and_heard_of_by_no_offer_makes_way_as_well(results, outcomes):
    unasked = read_record("agentbus.planner.results.mallory.t1", state="completed")
    outcomes.take(Unseen(unasked.model_copy(update={"unasked": True}), 9))
    results.put(kept())
    results.put(ended())
    results.sent("t1")

    assert await outcomes.results(5) == [ended()]
    assert results.given_back == []


async def test_what_is_looked_up_is_what_this_session_should_see_of_a_conversation(
    results, outcomes
):
    results.live |= {"other"}
    ends = {}
    for task_id, fields in {
        "t1": {"owner_session": "other"},
        "t2": {"owner_session": "session-1"},
        "t3": {"thread_id": "talk"},
    }.items():
        ends[task_id] = Unseen(ended(task_id, **fields), results.put(ended(task_id, **fields)))
        results.put(kept(task_id, **fields))

    assert await outcomes.look_up(5) == Looked([ends["t2"], ends["t3"]], elsewhere=1)
    assert await outcomes.look_up(5, thread_id="talk") == Looked([ends["t3"]])
    assert results.taken == {}


def test_what_is_looked_up_and_taken_is_nothing_to_read_any_more_and_keeps_its_delivery(
    results, outcomes
):
    taken = results.take(ended(state="needs_input"), delivered=True)
    results.sent("t1")

    kept_now = outcomes.take(Unseen(ended(), taken.revision + 1))

    assert outcomes.unread == set()
    assert results.taken == {"t1": (taken.revision + 1, taken.revision, ended())}
    assert outcomes.taken["t1"] is kept_now


def test_an_older_look_changes_nothing_of_what_is_taken(results, outcomes):
    given = Given(NOON, Calls().begin())
    taken = results.take(ended(), delivered=True, given=given)

    for revision in (taken.revision, taken.revision - 1):
        assert outcomes.take(Unseen(ended(state="needs_input"), revision)) == taken


async def test_nothing_more_is_awaited_of_what_is_forgotten(results, outcomes):
    results.sent("t1", "t2")

    outcomes.forget("t1")

    assert outcomes.sent == {"t2": Awaited("coder", DEADLINE)}
    assert outcomes.unread == {"t2"}
