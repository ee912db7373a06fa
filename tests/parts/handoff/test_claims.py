# SPDX-License-Identifier: Apache-2.0
"""What a session remembers of its claims, and what it says to be the cause of a new task."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from messages import read_record, read_task

from mcp_agentbus.bus.replies import Delivery
from mcp_agentbus.core import text
from mcp_agentbus.handoff.call import Calls, Given
from mcp_agentbus.handoff.claim import Claim
from mcp_agentbus.handoff.claims import Claims
from mcp_agentbus.handoff.dispatch import cause
from mcp_agentbus.handoff.dispatch.cause import CAUSE_LINGERS_S
from mcp_agentbus.handoff.dispatch.noted import CauseMemory
from mcp_agentbus.handoff.intake.references import delivery_of, reference_of
from mcp_agentbus.store.subjects import TASKS

AT = datetime(2026, 5, 18, 10, 0, tzinfo=UTC)
TOKEN = f"$JS.ACK.{TASKS}.coder-high.1.7.3.1795743849000000000.0"
DELIVERY = Delivery("agentbus.coder.tasks.high.planner", b"{}", {}, TOKEN, TASKS, 7, 1, AT, 0)


@pytest.fixture
def claims():
    return Claims(None, "coder", "session-1")


@pytest.fixture
def clock(monkeypatch):
    """The clock by which an end goes on being a cause."""
    clock = SimpleNamespace(at=5000.0, monotonic=lambda: clock.at)
    monkeypatch.setattr(cause, "time", clock)
    return clock


def claim(task_id, *, hops=0, revision=1):
    task = read_task(id=task_id).model_copy(update={"hops": hops, "chain": (f"of-{task_id}",)})
    return Claim(task, DELIVERY, read_record(), revision)


def test_a_claim_that_changes_keeps_its_place(claims):
    numbers = [claims.hold(claim(task_id)).number for task_id in ("a", "b", "c")]

    assert claims.hold(claim("b", revision=2)).number == numbers[1]
    assert list(claims) == ["a", "b", "c"]
    assert claims["b"].revision == 2


def test_whoever_keeps_claims_elsewhere_is_told_of_each_change(claims):
    told = []
    claims.on_change = lambda: told.append(list(claims))

    claims.hold(claim("a"))
    claims.hold(claim("b"))
    claims.let_go("a")

    assert told == [["a"], ["a", "b"], ["b"]]


def test_a_claim_that_is_made_anew_was_given_to_nobody(claims):
    claims.hold(claim("a"))
    claims.give(["a"], Calls().begin())
    claims.let_go("a")
    claims.hold(claim("a"))

    assert claims.given("a") is None


def test_a_task_is_given_anew_if_its_answer_was_never_written(claims):
    call = Calls().begin()
    claims.hold(claim("a"))
    claims.give(["a", "not held"], call)
    given = claims.given("a")
    call.lost()

    assert (given.call, claims.given("a"), claims.given("not held")) == (call, None, None)


def test_a_task_that_has_arrived_is_not_given_anew_where_an_answer_that_names_it_is_lost(claims):
    calls = Calls()
    claims.hold(claim("a"))
    claims.give(["a"], first := calls.begin())
    first.answered()
    claims.give(["a"], names := calls.begin())
    names.lost()

    assert claims.given("a").has_arrived(calls.begin())


def test_a_task_that_is_named_again_keeps_the_time_at_which_it_was_given(claims, elapse):
    calls = Calls()
    claims.hold(claim("a"))
    claims.give(["a"], calls.begin())
    first = claims.given("a")
    elapse(60)
    claims.give(["a"], again := calls.begin())

    assert claims.given("a") == Given(first.at, again)


def test_the_next_process_of_a_session_knows_what_its_reader_has(claims):
    claims.hold(claim("a"))
    claims.hold(claim("b"))
    claims.give(["a"], Calls().begin())
    told = []
    claims.on_change = lambda: told.append(claims.references())
    claims.shown({"a"}, {"a", "b", "c"})
    [[of_a, of_b]] = told

    assert (of_a["cut"], "cut" in of_b) == (True, False)
    assert of_a["given_at"] == claims.given("a").at.isoformat()
    assert "given_at" not in of_b
    assert delivery_of(of_a).seq == DELIVERY.seq


def test_the_next_process_of_a_session_knows_what_was_sent_for_a_task_alone(claims):
    a = claims.hold(claim("a"))
    told = []
    claims.on_change = lambda: told.extend(claims.references())

    assert claims.alone([("tester", "b"), ("tester", "c")]) == [a.task, None]
    assert [each["sent_for"] for each in told] == [{"tester": "b"}]


def test_what_a_session_sends_is_caused_by_the_deepest_task_that_it_holds(claims):
    assert claims.cause() == ((), -1)
    for task_id, hops in (("a", 1), ("b", 3), ("c", 2)):
        claims.hold(claim(task_id, hops=hops))

    assert claims.cause() == (("of-b",), 3)


@pytest.mark.parametrize("how", ["ended", "given back", "lost", "ended, and never held"])
def test_a_task_that_was_just_at_hand_is_still_a_cause_however_it_went(claims, how):
    a = claim("a")
    if "never" not in how:
        claims.hold(a)
    {
        "given back": lambda: claims.let_go("a"),
        "lost": lambda: claims.lose(a, a.record),
    }.get(how, lambda: claims.end(a.task))()

    assert claims.cause() == (("of-a",), 0)


@pytest.mark.parametrize("beside", ["held", "ended before", "ended since", "recalled"])
def test_a_small_task_beside_does_not_begin_the_count_of_a_deep_one_anew(claims, clock, beside):
    small, deep = claim("small"), claim("deep", hops=4)
    if beside in {"held", "ended before"}:
        claims.hold(small)
    if beside == "ended before":
        claims.end(small.task)
    claims.end(claims.hold(deep).task)
    clock.at += 1
    if beside == "ended since":
        claims.end(claims.hold(small).task)
    if beside == "recalled":
        claims.recall(["planner"], 0, text.now())

    assert claims.cause() == (("of-deep",), 4)


def test_once_a_deep_task_is_long_over_what_was_ended_since_is_the_cause(claims, clock):
    for hops in (5, 3, 1, 2):
        claims.end(claim(f"t{hops}", hops=hops).task)
        clock.at += 199
    causes = []
    for _ in range(4):
        causes.append(claims.cause()[1])
        clock.at += 190

    assert causes == [3, 2, 2, -1]


def test_of_as_many_hops_the_one_that_ended_last_is_kept_and_no_more_than_one(claims, clock):
    for number in range(20):
        claims.end(claim(f"t{number}", hops=number % 3).task)
        clock.at += 1

    assert claims.cause() == (("of-t17",), 2)
    assert [way.hops for way in claims.ways.lately] == [2, 1]


@pytest.mark.parametrize(
    ("ago_s", "lingers"),
    [(CAUSE_LINGERS_S - 60, True), (CAUSE_LINGERS_S + 1, False), (-3600, True)],
    ids=["a while ago", "long ago", "before the clock was set back"],
)
def test_a_task_that_an_earlier_process_ended_is_a_cause_for_as_long(claims, ago_s, lingers):
    claims.recall(["planner"], 2, text.now() - timedelta(seconds=ago_s))

    assert (claims.cause()[1] >= 0) is lingers


def test_a_claim_is_found_again_by_its_reference_which_holds_no_body():
    reference = reference_of(claim("a").delivery)

    assert delivery_of(reference) == Delivery(
        DELIVERY.subject, b"", {}, DELIVERY.token, DELIVERY.stream, DELIVERY.seq,
        DELIVERY.offered, AT, DELIVERY.waiting,
    )  # fmt: skip


@pytest.mark.parametrize(
    "reference",
    [
        {},
        {"stored_at": "now"},
        {"stored_at": AT.isoformat()},
        {**reference_of(DELIVERY), "token": "agentbus.coder.results.planner.a"},
        {**reference_of(DELIVERY), "subject": "agentbus.coder.results.planner.a"},
    ],
)
def test_what_is_no_reference_names_no_delivery(reference):
    with pytest.raises((ValueError, LookupError, TypeError)):
        delivery_of(reference)


def test_by_what_way_a_shells_task_came_is_noted_in_a_folder_of_its_users_own(claims, tmp_path):
    folder = tmp_path / "state"
    claims.end(claims.hold(claim("a", hops=2)).task)

    CauseMemory(folder / "shell-coder.jsonl", claims).note()

    assert folder.stat().st_mode & 0o077 == 0
    later = Claims(None, "coder", "session-2")
    CauseMemory(folder / "shell-coder.jsonl", later).recall()
    assert later.cause() == (("of-a",), 2)
