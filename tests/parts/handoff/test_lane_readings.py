# SPDX-License-Identifier: Apache-2.0
"""What one reading of several lanes brings as a whole, in which order, and which lanes it asks."""

from contextlib import ExitStack

import pytest
from offering import AT, Offering, claimed, offer

from mcp_agentbus.bus.replies import HandedOut
from mcp_agentbus.handoff.intake.brought import Brought
from mcp_agentbus.handoff.intake.lanes import take, take_for_one
from mcp_agentbus.store.steps import step

ALL = ("high", "normal", "low")


@pytest.fixture
def offering(monkeypatch):
    return Offering(monkeypatch)


def fill(offering, **places):
    """Have lanes offer tasks, by INBOX_LANE: their numbers, and how many wait behind the last."""
    offering.stocked = set()
    for place, (numbers, waiting) in places.items():
        inbox, _, lane = place.rpartition("_")
        inbox = inbox.replace("_", "-")
        offering.stocked.add((inbox, lane))
        offering.lanes[f"{inbox}-{lane}"] = [
            [
                offer(f"t{seq}", seq=seq, to=inbox, lane=lane, waiting=waiting + len(behind))
                for seq, *behind in (numbers[at:] for at in range(len(numbers)))
            ]
        ]
    offering.stocked = frozenset(offering.stocked)


def told(taken):
    """Return what a reading tells, with its claims by their tasks' numbers."""
    claims = [int(claim.task.id[1:]) for claim in taken.claims]
    return claims, taken.waiting, taken.notes, taken.degraded, taken.nothing_stored


@pytest.fixture(autouse=True)
def all_are_taken(offering, monkeypatch):
    """Have the session take what is in the inbox of its role, too."""

    async def no(*_):
        return None

    monkeypatch.setattr("mcp_agentbus.handoff.intake.lanes.refusals.refusal", no)


def test_a_reading_that_brought_nothing_says_nothing():
    assert Brought() == Brought([], {}, [], "", nothing_stored=False)


async def test_where_nothing_is_stored_no_lane_is_asked_and_that_is_known(offering):
    offering.stocked = frozenset()

    taken = await take(offering.session, 5)
    assert told(taken) == ([], dict.fromkeys(ALL, 0), [], "", True)
    assert offering.pulled == []


async def test_what_is_urgent_comes_first_of_all_inboxes_and_the_rest_is_counted(offering):
    fill(
        offering,
        coder_low=([1, 2], 4),
        role_review_high=([3], 0),
        coder_high=([4], 0),
        role_review_low=([5], 7),
    )
    taken = await take(offering.session, 5)

    waiting = {"high": 0, "normal": 0, "low": 11}
    assert told(taken) == ([4, 3, 1, 2, 5], waiting, [], "", False)
    assert offering.pulled == [
        ("coder-high", 5, []), ("role-review-high", 4, []), ("coder-low", 3, []),
        ("role-review-low", 1, []),
    ]  # fmt: skip


async def test_once_enough_is_claimed_no_lane_behind_is_asked_or_counted_in_part(offering):
    fill(
        offering, coder_high=([1], 0), coder_normal=([2], 6), role_review_normal=([3], 0),
        coder_low=([4], 0),
    )  # fmt: skip
    taken = await take(offering.session, 2)

    assert told(taken) == ([1, 2], {"high": 0}, [], "", False)
    assert [place for place, _, _ in offering.pulled] == ["coder-high", "coder-normal"]


async def test_a_single_lane_is_asked_itself_and_of_an_empty_one_none_wait(offering):
    offering.stocked = frozenset()

    taken = await take(offering.session, 5, ["high"])
    assert told(taken) == ([], {"high": 0}, [], "", False)
    assert offering.pulled == [("coder-high", 5, []), ("role-review-high", 5, [])]


async def test_where_it_is_not_known_what_is_stored_each_lane_is_asked(offering):
    taken = await take(offering.session, 5)

    assert told(taken) == ([], dict.fromkeys(ALL, 0), [], "", False)
    assert len(offering.pulled) == 6


async def test_what_was_claimed_before_comes_first_and_counts(offering):
    fill(offering, coder_high=([1], 0))
    before = (await take(offering.session, 5)).claims
    fill(offering, coder_high=([2], 0))
    taken = await take(offering.session, 2, ALL, before)

    assert told(taken)[0] == [1, 2]
    assert offering.pulled[-1] == ("coder-high", 1, [])


async def test_a_lane_that_gave_all_that_it_may_is_told_of_and_the_others_are_read(offering):
    fill(offering, coder_high=([], 0), coder_low=([1], 2), role_review_high=([2], 0))
    offering.lanes["coder-high"] = [HandedOut()]
    taken = await take(offering.session, 5)

    why = "all tasks that may be claimed at once in coder's high lane are claimed"
    assert told(taken) == ([2, 1], {"high": 0, "normal": 0, "low": 2}, [], why, False)


async def test_while_not_enough_is_claimed_it_asks_again_for_what_it_has_not_seen(offering):
    fill(offering, coder_high=([1, 2], 5))
    taken_already = offering.lanes["coder-high"][0]
    offering.over = True
    offering.lanes["coder-high"] = [taken_already, [offer("t3", seq=3, waiting=4)]]
    taken = await take(offering.session, 2, ["high"])

    assert told(taken) == ([], {"high": 4}, [], "", False)
    assert offering.pulled == [
        ("coder-high", 2, []), ("coder-high", 2, [1, 2]), ("role-review-high", 2, [])
    ]  # fmt: skip


async def test_it_asks_again_for_as_many_as_are_missing(offering):
    delivery = offer("t2", seq=2, offered=2)
    offering.records["t2"] = (step(claimed(delivery), "completed", "coder", "other-1", AT), 1)
    offering.lanes["coder-high"] = [[offer("t1"), delivery, offer("t3", seq=3)]]
    taken = await take(offering.session, 3, ["high"])

    assert [claim.task.id for claim in taken.claims] == ["t1", "t3"]
    assert offering.pulled == [
        ("coder-high", 3, []), ("coder-high", 1, [1, 2, 3]), ("role-review-high", 1, [])
    ]  # fmt: skip


async def test_of_two_lanes_that_alone_is_asked_that_has_something(offering):
    fill(offering, coder_low=([1], 0))
    taken = await take(offering.session, 5, ["normal", "low"])

    assert told(taken) == ([1], {"normal": 0, "low": 0}, [], "", False)
    assert offering.pulled == [("coder-low", 5, [])]


async def test_notes_of_all_lanes_are_told(offering):
    fill(offering, coder_high=([], 0), coder_low=([], 0))
    for seq, lane in ((1, "high"), (2, "low")):
        offering.lanes[f"coder-{lane}"] = [[offer(f"t{seq}", seq=seq, lane=lane, offered=51)]]
    notes = (await take(offering.session, 5)).notes

    assert [note.partition(" was parked")[0] for note in notes] == ["Task t1", "Task t2"]


async def taken_by_one(offering, fill_to, *, calls=1, before=()):
    """Return what a call takes while so many wait, itself included."""
    with ExitStack() as waiting:
        for _ in range(calls):
            waiting.enter_context(offering.session.watches.begun())
        return await take_for_one(offering.session, fill_to, ALL, before)


async def test_a_call_that_waits_alone_takes_what_it_has_room_for_and_what_both_looks_told(
    offering,
):
    fill(offering, coder_high=([1], 1), coder_low=([3], 0))
    park = offer("t8", seq=8, offered=51)
    offering.lanes["coder-high"] = [
        [park], [offer("t1", seq=1, waiting=1)], [offer("t2", seq=2, offered=51)]
    ]  # fmt: skip
    taken = await taken_by_one(offering, 3)

    assert [claim.task.id for claim in taken.claims] == ["t1", "t3"]
    assert [note.partition(" was")[0] for note in taken.notes] == ["Task t8", "Task t2"]
    assert [(place, batch) for place, batch, _ in offering.pulled] == [
        ("coder-high", 1), ("coder-high", 1), ("coder-high", 2), ("coder-low", 2)
    ]  # fmt: skip


async def test_why_a_lane_could_not_be_read_is_told_whichever_look_it_was(offering):
    fill(offering, coder_high=([], 0), coder_low=([1], 1))
    offering.lanes["coder-high"] = [HandedOut(), []]
    first = await taken_by_one(offering, 3)
    fill(offering, coder_high=([], 0), coder_low=([2], 1))
    offering.lanes["coder-high"] = [[], HandedOut()]
    second = await taken_by_one(offering, 4)

    why = "all tasks that may be claimed at once in coder's high lane are claimed"
    assert (first.degraded, second.degraded) == (why, why)


@pytest.mark.parametrize(
    ("calls", "room", "waiting", "left"),
    [(1, 2, 1, 0), (2, 2, 1, 1), (1, 1, 1, 1), (1, 2, 0, 0)],
    ids=["alone with room", "others wait", "room for one", "nothing is left"],
)
async def test_a_second_look_follows_where_it_may_bring_more(offering, calls, room, waiting, left):
    fill(offering, coder_high=([1], waiting))
    taken = await taken_by_one(offering, room, calls=calls)

    assert [claim.task.id for claim in taken.claims] == ["t1"]
    high = [place for place, _, _ in offering.pulled if place == "coder-high"]
    assert len(high) == 1 + (waiting - left)
    assert taken.waiting == {"high": left, "normal": 0, "low": 0}


async def test_where_nothing_was_claimed_no_second_look_follows(offering):
    offering.lanes["coder-high"] = [HandedOut()]
    taken = await taken_by_one(offering, 5)

    assert taken.claims == []
    assert len(offering.pulled) == 6


async def test_of_what_was_claimed_before_a_call_gives_as_many_as_it_has_room_for(offering):
    fill(offering, coder_high=([1, 2, 3], 0), role_review_high=([4, 5], 0))
    held = (await take(offering.session, 5)).claims
    fill(offering, coder_high=([], 0), role_review_high=([6], 0))
    offering.lanes["role-review-high"] = [[]]
    alone = await taken_by_one(offering, 2, before=held)
    beside = await taken_by_one(offering, 2, before=held, calls=2)

    assert [claim.task.id for claim in alone.claims] == ["t1", "t2"]
    assert [claim.task.id for claim in beside.claims] == ["t1"]


async def test_what_it_holds_and_has_given_takes_of_its_room(offering):
    fill(offering, coder_high=([1, 2, 3], 0), role_review_high=([4, 5], 0))
    held = (await take(offering.session, 5)).claims
    fill(offering, coder_high=([6], 1))
    taken = await taken_by_one(offering, 6, before=held[:1])

    assert [claim.task.id for claim in taken.claims] == ["t1", "t6"]
    assert offering.pulled[-1] == ("coder-high", 1, [])
