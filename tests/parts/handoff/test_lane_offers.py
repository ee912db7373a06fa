# SPDX-License-Identifier: Apache-2.0
"""What becomes of one offered task, by what stands of it: claimed, left, finished, ended, parked."""

import logging
from dataclasses import replace

import pytest
import strategies
from messages import TASK
from offering import AT, Offering, claimed, offer, untouched

from mcp_agentbus.bus.replies import Conflict
from mcp_agentbus.errors import BusUnreachable, NotAllowed, StoreFull, TooLarge
from mcp_agentbus.handoff.claim import Claim
from mcp_agentbus.handoff.intake import lanes
from mcp_agentbus.handoff.intake.lanes import take
from mcp_agentbus.handoff.intake.refusals import Refusal
from mcp_agentbus.store import subjects
from mcp_agentbus.store.queries import read_back
from mcp_agentbus.store.steps import step
from mcp_agentbus.store.task import ATTEMPTS_MAX

NOTHING = ([], [], [])


@pytest.fixture
def offering(monkeypatch):
    return Offering(monkeypatch)


async def offered(offering, *deliveries, limit=5):
    """Have the session take what one lane offers, in one answer."""
    offering.lanes["coder-high"] = [list(deliveries)]
    return await take(offering.session, limit, ["high"])


def by_us(delivery, record, revision, **more):
    """Return the claim of this session that a reading brings."""
    return Claim(read_back.decoded(delivery), delivery, record, revision, number=1, **more)


async def test_at_its_first_offer_it_is_claimed_by_one_write_and_nothing_is_read(offering):
    delivery = offer("t1")
    taken = await offered(offering, delivery)

    record = claimed(delivery, by="session-1")
    assert taken.claims == [by_us(delivery, record, 1)]
    assert (offering.records["t1"], offering.read, offering.done) == ((record, 1), [], NOTHING)


async def test_one_that_was_given_back_is_claimed_once_more_without_the_reason_of_that(offering):
    delivery = offer("t1", offered=2)
    before = step(claimed(delivery), "stored", "coder", "", AT, reason="its session ended")
    offering.records["t1"] = (before, 4)
    taken = await offered(offering, delivery)

    record = step(before, "claimed", "coder", "session-1", AT, attempts=2, reason="")
    assert taken.claims == [by_us(delivery, record, 5)]
    assert offering.read == [("planner", "coder", "t1")]


async def test_at_its_first_offer_it_may_have_been_claimed_by_its_id(offering, caplog):
    """Then the write fails, and its record is read."""
    caplog.set_level(logging.DEBUG)
    delivery = offer("t1")
    offering.records["t1"] = (claimed(delivery), 1)
    offering.live.add("other-1")
    taken = await offered(offering, delivery)

    assert taken.claims == []
    assert offering.done == ([], [(1, lanes._HELD_AGAIN_S)], [])
    assert caplog.messages == ["task t1 went to another session"]


async def test_what_others_wrote_of_attempts_counts_no_more_than_there_were_offers(offering):
    delivery = offer("t1", offered=2)
    before = step(claimed(delivery, attempts=9), "stored", "coder", "", AT)
    offering.records["t1"] = (before, 1)
    [claim] = (await offered(offering, delivery)).claims

    assert claim.record.attempts == 3


@pytest.mark.parametrize("state", ["completed", "cancelled"])
async def test_one_that_is_over_is_finished_and_not_shown(offering, state):
    delivery = offer("t1", offered=2)
    over = step(claimed(delivery), state, "coder", "other-1", AT)
    offering.records["t1"] = (over, 3)

    assert (await offered(offering, delivery)).claims == []
    assert (offering.records["t1"], offering.done) == ((over, 3), ([1], [], []))


@pytest.mark.parametrize(
    ("holder", "given_back"), [("other-1", [(1, lanes._HELD_AGAIN_S)]), ("shell-1", [])]
)
async def test_one_that_a_live_session_holds_is_left_to_it_and_offered_again_soon(
    offering, holder, given_back
):
    delivery = offer("t1", offered=2)
    offering.records["t1"] = (claimed(delivery, by=holder), 1)
    offering.live.add(holder)

    assert (await offered(offering, delivery)).claims == []
    assert offering.done == ([], given_back, [])
    assert offering.session.claims == {}


async def test_one_that_a_dead_session_held_is_claimed(offering):
    delivery = offer("t1", offered=2)
    before = claimed(delivery)
    offering.records["t1"] = (before, 1)
    taken = await offered(offering, delivery)

    record = step(before, "claimed", "coder", "session-1", AT, attempts=2, reason="")
    assert taken.claims == [by_us(delivery, record, 2)]


@pytest.mark.parametrize(("expect", "attempts"), [("answer", 5), ("nothing", 4)])
async def test_a_word_that_was_left_to_a_shell_had_no_attempt_by_who_has_read_its_beginning(
    offering, expect, attempts
):
    data = strategies.spelt({**TASK, "id": "t1", "expect": expect})
    delivery = offer("t1", offered=9, data=data)
    offering.records["t1"] = (claimed(delivery, by="shell-1", attempts=4), 1)

    [claim] = (await offered(offering, delivery)).claims
    assert claim.record.attempts == attempts


@pytest.mark.parametrize("seq", [1, 7], ids=["once more", "stored a second time"])
async def test_one_that_this_session_holds_is_held_by_what_was_offered_last(offering, seq):
    delivery = offer("t1")
    [claim] = (await offered(offering, delivery)).claims
    again = offer("t1", seq=seq, offered=2)
    taken = await offered(offering, again)

    assert (taken.claims, offering.done) == ([], NOTHING)
    assert offering.session.claims["t1"] == replace(claim, delivery=delivery if seq == 1 else again)


async def test_one_that_this_session_held_once_and_has_not_is_claimed_anew(offering):
    delivery = offer("t1", offered=2)
    offering.records["t1"] = (claimed(delivery, by="session-1"), 1)
    offering.live.add("session-1")

    [claim] = (await offered(offering, delivery)).claims
    assert (claim.record.attempts, claim.found) == (2, False)


async def test_one_that_this_session_has_let_go_is_no_more_its_own(offering):
    delivery = offer("t1", offered=2)
    before = step(claimed(delivery, by="session-1"), "stored", "coder", "session-1", AT)
    offering.records["t1"] = (before, 1)
    offering.session.leased, offering.session.claims.missed = True, lambda claim: True

    [claim] = (await offered(offering, delivery)).claims
    assert (claim.record.attempts, claim.found) == (2, False)


@pytest.mark.parametrize("missed", [True, False])
async def test_a_lease_of_an_earlier_process_is_found_but_not_that_of_one_beside_it(
    offering, missed
):
    delivery = offer("t1", offered=2)
    record = claimed(delivery, by="session-1")
    offering.records["t1"] = (record, 3)
    offering.session.leased = True
    offering.session.claims.missed = lambda claim: missed
    taken = await offered(offering, delivery)

    assert taken.claims == ([by_us(delivery, record, 3, found=True)] if missed else [])
    assert (offering.records["t1"], offering.done) == ((record, 3), NOTHING)


@pytest.mark.parametrize("offers", [1, 2])
async def test_one_whose_deadline_has_passed_expires_and_its_sender_is_told_why(offering, offers):
    delivery = offer("t1", offered=offers)
    offering.over = True

    assert (await offered(offering, delivery)).claims == []
    why = "its deadline passed before anybody claimed it"
    expired = step(untouched(delivery), "expired", "coder", "", AT, reason=why)
    assert (offering.records["t1"], offering.done) == ((expired, 1), ([1], [], []))


async def test_one_whose_sender_noticed_first_that_it_has_expired_is_finished_all_the_same(
    offering,
):
    offering.over, offering.fails["t1"] = True, Conflict()
    await offered(offering, offer("t1"))

    assert offering.done == ([1], [], [])


async def test_what_its_agent_does_not_take_ends_unread_with_the_reason(offering):
    delivery = offer("t1")
    offering.refused["planner"] = Refusal("coder takes tasks of tester only")

    assert (await offered(offering, delivery)).claims == []
    why = "coder takes tasks of tester only"
    rejected = step(untouched(delivery), "rejected", "coder", "", AT, reason=why)
    assert (offering.records["t1"], offering.done) == ((rejected, 1), ([1], [], []))


async def test_what_is_refused_and_was_ended_in_the_same_moment_is_looked_at_again(offering):
    offering.refused["planner"] = Refusal("no")
    offering.fails["t1"] = Conflict()
    await offered(offering, offer("t1"))

    assert offering.done == NOTHING


@pytest.mark.parametrize(("offers", "pause_s"), [(1, 5), (2, 10), (59, 295), (60, 300), (61, 300)])
async def test_what_another_of_the_role_may_take_is_left_ever_longer(offering, offers, pause_s):
    offering.refused["planner"] = Refusal("no", is_left=True)
    await offered(offering, offer("t1", offered=offers))

    assert (offering.records, offering.done) == ({}, ([], [(1, pause_s)], []))


async def test_one_that_was_claimed_5_times_without_an_end_is_parked(offering):
    fourth, fifth = offer("t1", offered=5), offer("t2", seq=2, offered=6)
    for delivery, attempts in ((fourth, 4), (fifth, 5)):
        before = step(claimed(delivery, attempts=attempts), "stored", "coder", "", AT)
        offering.records[read_back.decoded(delivery).id] = (before, 8)
    known = offering.records["t2"]
    taken = await offered(offering, fourth, fifth)

    why = "it was claimed 5 times without an end"
    assert [claim.task.id for claim in taken.claims] == ["t1"]
    assert taken.notes == [f"Task t2 was parked: {why}. See `agentbus parked`."]
    assert offering.done == ([], [], [(2, "coder", why, known)])


async def test_one_that_was_offered_50_times_in_vain_is_parked_unless_it_has_a_record(offering):
    fifty, more = offer("t1", offered=50), offer("t2", seq=2, offered=51)
    known = offer("t3", seq=3, offered=51)
    offering.records["t3"] = (step(claimed(known), "stored", "coder", "", AT), 1)
    taken = await offered(offering, fifty, more, known)

    why = "it was offered 51 times, and nobody could claim it"
    assert [claim.task.id for claim in taken.claims] == ["t1", "t3"]
    assert offering.done == ([], [], [(2, "coder", why, (untouched(more), 0))])


async def test_one_of_a_role_is_taken_however_often_others_have_left_it(offering):
    taken = await offered(offering, offer("t1", to="role-review", offered=86))

    assert ([claim.task.id for claim in taken.claims], offering.done) == (["t1"], NOTHING)


async def test_what_is_no_task_is_parked_and_told_of(offering):
    taken = await offered(offering, offer("t1", data=b"{"))

    [(seq, agent, why, record)] = offering.parked
    assert (seq, agent, record) == (1, "coder", None)
    assert taken.notes == [f"A stored message was parked: {why}. See `agentbus parked`."]


@pytest.mark.parametrize(
    ("refused", "why"),
    [
        (StoreFull(), "no more can be parked. Run `agentbus parked`"),
        (TooLarge(), "with the reason it is larger than the bus server takes (its max_payload)"),
        (NotAllowed(), f"it cannot be parked. {NotAllowed().message}"),
    ],
)
async def test_what_cannot_be_parked_stays_and_keeps_nobody_waiting(offering, refused, why):
    offering.fails["park"] = refused
    taken = await offered(offering, offer("t1", offered=51), offer("t2", seq=2))

    [note] = taken.notes
    assert note.startswith("Task t1 cannot be worked on (it was offered 51 times, and nobody")
    assert f"stays in the inbox: {why}" in note
    assert [claim.task.id for claim in taken.claims] == ["t2"]
    assert offering.done == ([], [(1, lanes._NO_ROOM_AGAIN_S)], [])


async def test_what_a_schedule_repeats_is_finished_without_a_word(offering):
    repeats = {subjects.H_SCHEDULE: "@every 1s"}
    taken = await offered(offering, offer("t1", headers=repeats))

    assert (taken.claims, taken.notes, offering.done) == ([], [], ([1], [], []))


@pytest.mark.parametrize(("offers", "pause_s"), [(1, 5), (59, 295), (61, 300)])
async def test_of_two_that_have_one_id_the_second_waits_for_the_end_of_the_first(
    offering, offers, pause_s
):
    first, second = offer("t1"), offer("t1", seq=2, offered=offers, sender="tester")
    taken = await offered(offering, first, second)
    waits = dict(offering.session.namesakes)
    await offered(offering)
    before = list(offering.given_back)
    offering.session.claims.let_go("t1")
    await offered(offering)

    assert [claim.task.sender for claim in taken.claims] == ["planner"]
    assert waits == {2: ("t1", second)}
    assert before == [(2, pause_s)]
    assert (offering.given_back, offering.session.namesakes) == ([*before, (2, 0.0)], {})


@pytest.mark.parametrize("other", [{"sender": "tester"}, {"to": "role-review"}])
async def test_so_does_one_that_comes_while_another_of_its_id_is_held(offering, other):
    await offered(offering, offer("t1"))
    second = offer("t1", seq=2, **other)
    taken = await offered(offering, second)

    assert (taken.claims, offering.session.namesakes) == ([], {2: ("t1", second)})
    assert offering.done == ([], [(2, 5)], [])


async def test_what_was_claimed_beside_one_that_failed_is_held_and_the_failure_told(offering):
    offering.fails["t1"] = BusUnreachable()
    with pytest.raises(BusUnreachable):
        await offered(offering, offer("t1"), offer("t2", seq=2))

    assert list(offering.session.claims) == ["t2"]


async def test_of_what_was_handed_out_that_is_nobodys_which_its_reader_may_claim_now(offering):
    """Nobody has claimed it, or has it any more, or this session has and was not told."""
    await offered(offering, offer("namesake"))
    ours = {"new", "back", "unheard", "refused"}
    held = {"live": "other-1", "unheard": "session-1"}
    offering.refused |= {"tester": Refusal("no"), "lead": Refusal("no", is_left=True)}
    senders = {"refused": "tester", "left": "lead", "namesake": "ann"}
    out = []
    for task_id in (*sorted(ours), "live", "hopeless", "namesake", "left"):
        delivery = offer(task_id, sender=senders.get(task_id, "planner"))
        record = claimed(delivery, by=held[task_id]) if task_id in held else None
        if attempts := {"back": ATTEMPTS_MAX - 1, "hopeless": ATTEMPTS_MAX}.get(task_id):
            record = untouched(delivery).model_copy(update={"attempts": attempts})
        out.append((read_back.decoded(delivery), record))

    free = await lanes._are_nobodys(offering.session, out)

    assert {task.id for (task, _), is_free in zip(out, free, strict=True) if is_free} == ours
