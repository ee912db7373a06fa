# SPDX-License-Identifier: Apache-2.0
"""When a session looks at the deadlines of what its agent has sent, and what it ends then."""

import pytest
from results_stand_in import DEADLINE, NOON, ended, kept

from mcp_agentbus.bus.replies import HandedOut
from mcp_agentbus.handoff import outcomes as module
from mcp_agentbus.handoff.ends.awaited import Awaited
from mcp_agentbus.store.steps import first_record, step


def over(task_id="t1"):
    """Return what a task's record says whose deadline has passed."""
    reason = "its deadline passed without a result"
    return step(first_record(kept(task_id)), "expired", "planner", "", DEADLINE, reason=reason)


@pytest.mark.parametrize("ask", ["results", "results_of", "look_up"])
async def test_a_task_whose_deadline_has_passed_is_ended_by_whoever_looks(results, outcomes, ask):
    results.due = [[results.offer(kept())]]
    results.at = DEADLINE

    if ask == "results_of":
        told = await outcomes.results_of(["t1"])
    elif ask == "results":
        results.sent("t1", unread=False)
        told = await outcomes.results(5)
    else:
        told = [each.record for each in (await outcomes.look_up(5)).results]

    assert told == [over()]


async def test_a_task_of_another_session_that_has_ended_is_left_to_be_told_like_any_result(
    results, outcomes
):
    open_, due = results.offer(kept("t1")), results.offer(kept("t2"))
    results.due = [[open_, due]]
    results.sent("t1", unread=False)
    results.put(ended("t1"))
    results.at = DEADLINE

    assert await outcomes.results(5) == []
    assert results.standing(ended("t2")) == over("t2")
    assert (outcomes.unread, sorted(results.finished)) == (set(), [open_.seq, due.seq])


@pytest.mark.parametrize(
    ("swept_ago_s", "awaits", "at", "looks"),
    [
        (None, False, NOON, True),
        (0, False, NOON, False),
        (59.9, True, NOON, False),
        (59.9, True, DEADLINE, True),
        (60, True, NOON, True),
        (60, False, NOON, True),
    ],
)
async def test_deadlines_are_looked_at_once_a_minute_and_when_one_of_ones_own_has_come(
    results, swept_ago_s, awaits, at, looks
):
    outcomes = results.outcomes
    outcomes.swept_at = None if swept_ago_s is None else results.clock_s - swept_ago_s
    results.unkept, results.at = [kept("t2")], at
    if awaits:
        results.sent("t1", unread=False)

    await outcomes.results(5)

    assert results.pulled["planner_sent"] == [100] * looks
    assert (results.unkept == []) is looks
    assert outcomes.swept_at == (results.clock_s if looks else results.clock_s - swept_ago_s)


async def test_of_very_many_deadlines_a_part_is_looked_at_and_the_next_look_goes_on(
    results, outcomes, monkeypatch
):
    monkeypatch.setattr(module, "_BATCH", 2)
    every = [results.offer(kept(f"t{number}")) for number in range(7)]
    results.due = [every[at : at + 2] for at in range(0, 7, 2)]

    await outcomes.results(1)
    looked_at = len(results.given_back)
    await outcomes.results(1)

    assert (looked_at, len(results.given_back)) == (6, 7)
    assert results.pulled["planner_sent"] == [2, 2, 2, 2]


async def test_of_more_deadlines_than_a_server_counts_nobody_is_told(results, outcomes):
    results.due = [HandedOut("full")]

    assert await outcomes.results(1) == []
    assert outcomes.swept_at == results.clock_s


async def test_what_the_server_has_lost_is_looked_for_by_all_that_is_kept_of_what_it_has(
    results, outcomes, monkeypatch
):
    looks = []

    async def look(awaited):
        looks.append((awaited, results.standing(kept("t1"))))

    monkeypatch.setattr(outcomes._losses, "look", look)
    results.under_way = [kept("t1")]
    results.sent("t1", unread=False)
    outcomes.sent["t2"] = Awaited("coder", DEADLINE, is_stored=False)

    await outcomes.results(1)

    assert looks == [({"t1": ("coder", DEADLINE)}, kept("t1"))]
