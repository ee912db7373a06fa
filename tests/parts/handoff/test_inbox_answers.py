# SPDX-License-Identifier: Apache-2.0
"""An answer of the inbox as a whole, by what the session holds and what its inboxes bring."""

import pytest
from answering import OTHER, RESULT, Reader, claim
from messages import read_record, read_task

from mcp_agentbus.handoff.call import Given
from mcp_agentbus.handoff.ends.awaited import Result
from mcp_agentbus.handoff.ends.news import Results
from mcp_agentbus.handoff.inbox import FILL, read_inbox, watch_inbox
from mcp_agentbus.handoff.intake.answer import Inbox, Item
from mcp_agentbus.handoff.intake.brought import Brought
from mcp_agentbus.handoff.intake.rest import InboxRest
from mcp_agentbus.handoff.views.glances import Glance
from mcp_agentbus.store.queries.read_back import Seen
from mcp_agentbus.store.queues import Lane

LEFT = {"waiting": {"low": 3}, "held_elsewhere": 1}
LOOKED = {"waiting": {"normal": 2}, "held_elsewhere": 4}
ALL = ["high", "normal", "low"]
BEGUN = ["called", "results arrived", "tasks arrived", "can read"]


@pytest.fixture
def reader(monkeypatch):
    return Reader(monkeypatch)


def item(held, **more):
    return Item(held.task, held.record.state, held.record.attempts, **more)


def same(asked, *expected):
    """Tell whether that and nothing else was asked; what is asked at once, in any order."""
    return sorted(map(repr, asked)) == sorted(map(repr, expected))


async def test_a_read_has_new_tasks_and_results_and_says_what_waits(reader):
    claims = [claim("t1"), claim("t2")]
    reader.taken, reader.new = Brought(claims, {"low": 9}, ["Parked."]), Results([RESULT])
    inbox = await read_inbox(reader.session)

    assert inbox == Inbox(
        tasks=tuple(item(each, new=True) for each in claims), results=(RESULT,),
        notes=("Parked.",), held=2, **LEFT,
    )  # fmt: skip
    assert reader.asked[:4] == BEGUN
    assert same(
        reader.asked[4:], ("checked", []), ("take", FILL, ALL, []), ("results", FILL, "not yet"),
        ("as told", {"low": 9}, {}), ("given", ["r1"]),
    )  # fmt: skip


async def test_where_nothing_is_new_a_read_looks_at_each_task_and_result(reader):
    reader.old = Results([OTHER], elsewhere=2)
    inbox = await read_inbox(reader.session, limit=1)

    assert inbox == Inbox(results=(OTHER,), results_elsewhere=2, more_results=True, **LOOKED)
    assert same(
        reader.asked, *BEGUN, ("checked", []), ("take", 1, ALL, []), ("results", 1, "not yet"),
        ("looked up", 1, None, True), "looked at", ("doubt", "coder_normal"),
        ("take", 1, ["normal"], []), ("given", ["r2"]),
    )  # fmt: skip


async def test_what_waits_by_that_look_and_was_not_offered_is_taken(reader):
    reader.looked = {"high": Lane(1, 2), "low": Lane(1)}
    reader.old = Results([OTHER])
    reader.unoffered = Brought([claim("t1")], {"high": 0}, ["Parked."], "all others are claimed")
    inbox = await read_inbox(reader.session)

    assert inbox == Inbox(
        tasks=(item(*reader.unoffered.claims, new=True),), results=(OTHER,), waiting={"low": 1},
        held_elsewhere=2, notes=("Parked.",), degraded="all others are claimed", held=1,
    )  # fmt: skip
    again = [("doubt", "coder_high"), ("doubt", "coder_low"), ("take", FILL, ["high", "low"], [])]
    assert reader.asked[-4:] == [*again, ("given", ["r2"])]


async def test_whoever_holds_enough_takes_of_it_what_is_urgent(reader):
    reader.held(*"abcde")
    reader.left = InboxRest({})
    reader.looked, reader.unoffered = {"high": Lane(2), "low": Lane(1)}, Brought([claim("t1")])
    inbox = await read_inbox(reader.session)

    assert (inbox.waiting, len(inbox.tasks)) == ({"high": 1, "low": 1}, 6)
    assert [one for one in reader.asked if one[0] == "take"] == [("take", 1, ["high"], [])] * 2


@pytest.mark.parametrize(("by_pulls", "told"), [(True, LEFT), (False, LOOKED)])
async def test_whoever_holds_tasks_is_told_by_such_a_look_where_no_pull_says_that_any_waits(
    reader, by_pulls, told
):
    held = reader.held("t1")
    reader.taken = Brought(waiting={"low": 3} if by_pulls else {})
    inbox = await read_inbox(reader.session)

    assert inbox == Inbox(tasks=(item(*held),), held=1, **told)
    assert not any(one[0] == "looked up" for one in reader.asked)


async def test_whoever_holds_none_is_told_by_a_look_though_a_pull_in_vain_says_that_some_wait(
    reader,
):
    reader.taken = Brought(waiting={"low": 3})

    assert await read_inbox(reader.session) == Inbox(**LOOKED)


async def test_where_nothing_is_stored_no_task_is_looked_at(reader):
    reader.taken = Brought(nothing_stored=True)

    assert await read_inbox(reader.session) == Inbox(waiting={})
    assert await watched(reader) == Inbox(waiting={}, timed_out=True)
    assert "looked at" not in reader.asked


async def test_what_sessions_had_that_are_gone_is_told_and_not_asked_for(reader):
    reader.looked = {"normal": Lane(2, gone=2)}
    inbox = await read_inbox(reader.session)

    assert inbox == Inbox(waiting={"normal": 2}, of_gone=2)
    assert ("doubt", "coder_normal") not in reader.asked


async def test_of_many_that_wait_those_are_asked_for_once_more_that_may_be_offered(reader):
    reader.looked = {"high": Lane(60, tasks=None), "low": Lane(1, gone=1)}
    await read_inbox(reader.session)

    assert [one for one in reader.asked if one[0] in {"take", "doubt"}] == [
        ("take", FILL, ALL, []), ("take", FILL, ["high"], []),
    ]  # fmt: skip


async def test_where_it_is_known_why_not_all_is_offered_no_more_is_asked_for(reader):
    reader.taken = Brought(degraded="all are claimed")
    inbox = await read_inbox(reader.session)

    assert inbox == Inbox(degraded="all are claimed", **LOOKED)
    assert [one for one in reader.asked if one[0] in {"take", "doubt"}] == [("take", FILL, ALL, [])]


@pytest.mark.parametrize("what", ["checked", "notes", "results"])
async def test_where_anything_is_new_a_read_goes_by_what_the_pulls_told(reader, what):
    reader.notes = ["It was withdrawn."] if what == "checked" else []
    reader.taken = Brought(notes=["Parked."] if what == "notes" else [])
    reader.new = Results(degraded="results could not be read" if what == "results" else "")

    assert (await read_inbox(reader.session)).held_elsewhere == 1


async def test_open_claims_come_first_whole_or_a_line_and_a_limit_counts_what_is_new(reader):
    held = reader.held("t1", "t2")
    at = reader.given("t2")
    reader.notes = ["It was withdrawn."]
    new = claim("t3")
    reader.taken = Brought([new], {"low": 1}, degraded="all are claimed")
    reader.new = Results([RESULT])
    inbox = await read_inbox(reader.session, limit=3)

    assert inbox.tasks == (item(held[0]), item(held[1], given_at=at), item(new, new=True))
    assert (inbox.held, inbox.degraded) == (3, "all are claimed")
    assert (inbox.notes, inbox.more_results) == (("It was withdrawn.",), False)
    assert ("take", 2, ALL, []) in reader.asked
    assert ("results", 3, "not yet") in reader.asked


async def test_a_task_that_an_earlier_process_claimed_is_not_new(reader):
    found = claim("t1", found=True)
    reader.taken = Brought([found])

    assert (await read_inbox(reader.session)).tasks == (item(found, new=False),)


async def test_a_read_fills_up_to_5_held_and_shows_as_many_results(reader):
    reader.held("t1", "t2")
    reader.new = Results([RESULT] * 5)

    assert (await read_inbox(reader.session)).more_results
    assert ("take", 3, ALL, []) in reader.asked


@pytest.mark.parametrize(("limit", "waits"), [(5, True), (5, False), (None, True)])
async def test_a_limited_read_that_leaves_tasks_waiting_can_be_gone_on_with(reader, limit, waits):
    reader.held("t1", "t2")
    if not waits:
        reader.left, reader.looked = InboxRest({}), {}
    inbox = await read_inbox(reader.session, limit=limit)

    assert inbox.next_cursor == ("claim-2" if limit and waits else None)


async def test_one_that_shows_nothing_of_what_waits_cannot(reader):
    assert (await read_inbox(reader.session, limit=1)).next_cursor is None


async def test_of_more_open_claims_than_asked_for_it_goes_on_behind_the_last_shown(reader):
    first, second, third = reader.held("t1", "t2", "t3")
    new = claim("t4")
    reader.taken, reader.left = Brought([new]), InboxRest({})
    page = await read_inbox(reader.session, limit=1)
    reader.session.claims.let_go("t4")
    reader.taken, reader.looked = Brought(), {}
    after = await read_inbox(reader.session, limit=5, cursor=page.next_cursor)

    assert (page.tasks, page.next_cursor) == ((item(first), item(new, new=True)), "claim-1")
    assert ("take", 1, [], []) in reader.asked
    assert [each.task for each in after.tasks] == [second.task, third.task]
    assert after.next_cursor is None


@pytest.mark.parametrize(("count", "cursor"), [(50, None), (51, "claim-50")])
async def test_one_answer_names_50_open_claims_that_were_given(reader, count, cursor):
    task_ids = [f"t{number}" for number in range(count)]
    reader.held(*task_ids)
    reader.given(*task_ids)
    reader.left, reader.looked = InboxRest({}), {}
    inbox = await read_inbox(reader.session)

    assert (len(inbox.tasks), inbox.next_cursor) == (50, cursor)


async def test_why_results_could_not_be_read_is_said_where_the_tasks_could(reader):
    reader.new = Results(degraded="results could not be read")

    assert (await read_inbox(reader.session)).degraded == "results could not be read"


async def test_a_peek_shows_what_waits_and_who_holds_it_and_claims_nothing(reader):
    [mine] = reader.held("t1")
    theirs = read_task(id="t2")
    reader.glance = Glance(
        (Seen(mine.task), Seen(theirs, read_record(session="x"))), ("Searched.",), "peek-1"
    )
    reader.old = Results([RESULT], elsewhere=3, degraded="why")
    inbox = await read_inbox(reader.session, peek=True, cursor="peek-0")

    assert inbox == Inbox(
        tasks=(Item(mine.task, "stored"), Item(theirs, "working", holder="coder/x")),
        results=(RESULT,), results_elsewhere=3, degraded="why", notes=("Searched.",),
        next_cursor="peek-1", held=1, peeked=True, **LOOKED,
    )  # fmt: skip
    assert reader.asked[len(BEGUN) :] == [
        ("peek", FILL, None, "peek-0"), ("looked up", FILL, None, False), "looked at",
        ("given", ["r1"]),
    ]  # fmt: skip
    assert reader.session.claims.given("t1") is None


async def test_of_one_conversation_it_shows_what_is_held_of_it_and_what_waits(reader):
    [mine], [_] = reader.held("t1", thread_id="r7"), reader.held("t2", thread_id="r8")
    waits = read_task(id="t3", thread_id="r7")
    reader.glance = Glance((Seen(mine.task), Seen(waits)), (), None)
    inbox = await read_inbox(reader.session, thread_id="r7", limit=2)

    assert inbox == Inbox(
        tasks=(item(mine), Item(waits, "stored")), held=2, peeked=True, thread_id="r7", **LOOKED
    )  # fmt: skip
    assert ("peek", 2, "r7", None) in reader.asked
    assert ("looked up", 2, "r7", True) in reader.asked


async def watched(reader, **asked):
    """Return the answer of a call that looks once."""
    return await watch_inbox(reader.session, timeout_s=0, **asked)


async def test_a_wait_has_what_is_new_and_says_what_waits(reader):
    reader.held("t1")
    new = claim("t2")
    reader.taken, reader.new = Brought([new], {"high": 0}, ["Parked."]), Results([RESULT])
    inbox = await watched(reader)

    assert inbox == Inbox(
        tasks=(item(new, new=True),), results=(RESULT,), notes=("Parked.",), held=2, **LEFT
    )  # fmt: skip
    assert same(
        reader.asked, *BEGUN, ("take one", FILL, ["high", "normal", "low"], ["t1"]),
        ("offered", []), ("results", FILL, None), ("as told", {"high": 0}, {}), ("given", ["r1"]),
    )  # fmt: skip


async def test_a_limit_and_a_priority_say_what_it_claims_and_of_the_rest_how_much_waits(reader):
    reader.held("t1", "t2", lane="high")
    reader.held("t0", lane="low")
    reader.taken = Brought([claim("t3")], {"high": 1}, degraded="why")
    inbox = await watched(reader, limit=1, priority="high")

    assert ("take", 1, ["high"], ["t1"]) in reader.asked
    assert ("as told", {"high": 1}, {"normal": 7, "low": 7}) in reader.asked
    assert inbox.degraded == "why"


async def test_what_may_not_have_arrived_of_that_priority_is_named_again(reader):
    [high] = reader.held("t1", lane="high")
    reader.held("t2", lane="low")
    at = reader.given("t1", "t2", doubtful=True)
    reader.held("t3", lane="high")
    reader.given("t3")
    inbox = await watched(reader, priority="high")

    assert inbox == Inbox(tasks=(item(high, given_at=at),), held=3, **LEFT)


async def test_the_last_look_that_finds_nothing_looks_at_each_task_and_result(reader):
    reader.old = Results([], elsewhere=2)
    inbox = await watched(reader)

    assert inbox == Inbox(results_elsewhere=2, timed_out=True, **LOOKED)
    assert same(
        reader.asked[-5:], ("looked up", FILL, None, True), "looked at",
        ("doubt", "coder_normal"), ("take one", FILL, ["normal"], []), ("given", []),
    )  # fmt: skip


async def test_a_wait_takes_at_last_what_waits_in_its_lanes_and_was_not_offered(reader):
    reader.looked = {"high": Lane(2), "low": Lane(1)}
    reader.unoffered = Brought([claim("t1")])
    inbox = await watched(reader, limit=3, priority="high")

    assert inbox == Inbox(
        tasks=(item(*reader.unoffered.claims, new=True),), waiting={"high": 1, "low": 1}, held=1
    )  # fmt: skip
    assert reader.asked[-3:-1] == [("doubt", "coder_high"), ("take", 3, ["high"], [])]


async def test_where_results_cannot_be_read_it_looks_no_further_and_says_not_that_none_wait(reader):
    reader.new = Results(degraded="why")

    assert await watched(reader) == Inbox(degraded="why", timed_out=True)


async def test_an_answer_that_may_have_been_lost_is_named_with_its_time(reader):
    at = reader.held("t1") and reader.given("t1")
    reader.new = Results(doubtful=[Result(RESULT, 1, None, Given(at))])
    inbox = await watched(reader)

    assert (inbox.results, inbox.results_given_at) == ((RESULT,), {"r1": at})
    assert inbox.held_elsewhere == 1


async def test_a_session_for_one_task_claims_it_at_once_and_names_it_from_then_on(reader):
    reader.session.only = "t1"
    gone = await read_inbox(reader.session)
    reader.only = one = claim("t1")
    first, waits = await read_inbox(reader.session), await watched(reader)
    again = await read_inbox(reader.session)

    assert gone == Inbox(notes=("It is gone.",))
    assert first == Inbox(tasks=(item(one, new=True),), held=1)
    assert waits == Inbox(held=1, timed_out=True)
    at = reader.session.claims.given("t1").at
    assert again == Inbox(tasks=(item(one, given_at=at),), held=1)
    assert reader.asked.count("claim") == 2


async def test_what_it_holds_that_no_answer_gave_is_new(reader):
    reader.session.only = "t1"
    [one] = reader.held("t1")

    assert await watched(reader) == Inbox(tasks=(item(one, new=True),), held=1)


async def test_what_a_session_for_one_task_is_told_of_it_is_no_reason_to_claim_it(reader):
    reader.session.only = "t1"
    reader.notes = ["It was withdrawn."]

    assert await read_inbox(reader.session) == Inbox(notes=("It was withdrawn.",))
    assert "claim" not in reader.asked


async def test_of_one_task_a_wait_names_what_may_not_have_arrived(reader):
    reader.session.only = "t1"
    [one] = reader.held("t1")
    at = reader.given("t1", doubtful=True)

    assert (await watched(reader)).tasks == (item(one, given_at=at),)


@pytest.mark.parametrize(
    ("known", "enough", "shown"),
    [
        (["r1", "r2"], None, ["r1", "r2"]),
        (["r2"], None, ["r2"]),
        ([], None, []),
        (["r1"], 1, ["r1"]),
    ],
)
async def test_of_awaited_tasks_the_last_look_tells_what_is_known(reader, known, enough, shown):
    reader.held("t1")
    there = {"r1": RESULT, "r2": OTHER}
    reader.outcomes = {each: there[each] for each in known}
    inbox = await watched(reader, task_id=["r1", "r2"], enough=enough)

    results = tuple(there[each] for each in shown)
    assert inbox == Inbox(results=results, held=1, timed_out=not shown)
    assert reader.asked == [*BEGUN, ("given", shown)]
