# SPDX-License-Identifier: Apache-2.0
"""What one call tells of the answer to another: that it arrived, or that it may not have."""

import asyncio

import pytest
from messages import read_task

from mcp_agentbus.core.text import now
from mcp_agentbus.handoff.call import Answered, Calls, Given
from mcp_agentbus.handoff.intake.answer import Inbox, Item
from mcp_agentbus.handoff.intake.watches import Watch


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self):
        self.at = 100.0

    def __call__(self):
        return self.at


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def calls(clock):
    return Calls(clock)


def test_a_call_that_came_after_an_answer_tells_that_it_arrived(calls):
    first = calls.begin()
    first.answered()

    assert first.arrival(calls.begin()) == "arrived"


def test_a_call_that_came_before_an_answer_tells_nothing(calls):
    first, meanwhile = calls.begin(), calls.begin()
    before = first.arrival(meanwhile)
    first.answered()

    assert (before, first.arrival(meanwhile)) == ("not yet", "not yet")


@pytest.mark.parametrize(("waited_s", "arrival"), [(5.0, "arrived"), (5.1, "doubtful")])
def test_the_answer_to_a_call_that_took_over_5_s_may_not_have_arrived(
    calls, clock, waited_s, arrival
):
    first = calls.begin()
    clock.at += waited_s
    first.answered()

    assert first.arrival(calls.begin()) == arrival


def test_so_may_the_answer_to_a_call_that_another_came_meanwhile(calls):
    first, second = calls.begin(), calls.begin()
    second.answered()
    first.answered()
    later = calls.begin()

    assert (first.arrival(later), second.arrival(later)) == ("doubtful", "arrived")


def test_whoever_has_the_answer_in_its_hands_has_it(calls, clock):
    with calls.within(None) as first:
        calls.begin()
        clock.at += 60

    assert first.arrival(calls.begin()) == "arrived"


def test_a_call_that_goes_on_is_answered_by_whoever_writes_its_answer(calls):
    begun = calls.begin()
    with calls.within(begun) as same:
        pass

    assert same is begun
    assert begun.arrival(calls.begin()) == "not yet"


@pytest.mark.parametrize("written", [True, False])
def test_a_client_that_says_that_it_has_given_up_has_lost_the_answer(calls, written):
    call = calls.begin(7)
    if written:
        call.answered()
    calls.get(7).lost()
    call.answered()

    assert call.arrival(calls.begin()) == "lost"
    assert Given(now(), call).is_lost


def test_a_call_is_found_by_its_key_and_1_of_many_is_forgotten(calls):
    first, second = calls.begin("a"), calls.begin("a")
    for number in range(1000):
        calls.begin(number)

    assert first is not second
    assert (calls.get("a"), calls.get(999).arrival(second)) == (None, "not yet")


def test_what_an_earlier_server_gave_is_doubtful_to_the_call_that_learns_of_it(calls):
    call = calls.begin()
    given = Given(now(), calls.given_up())

    assert (given.is_doubtful(call), given.has_arrived(call), given.is_lost) == (True, False, False)


def test_by_the_clock_what_was_given_is_doubtful_for_a_call_that_waited_meanwhile(calls):
    first, waits = calls.begin(), calls.begin()
    first.answered()
    given = Given(now(), first)

    assert (given.is_doubtful(waits), given.is_doubtful(None)) == (False, True)
    assert Given(now()).has_arrived(waits)


def test_256_calls_may_still_be_given_up_those_last_that_came_again_last(calls):
    for key in range(256):
        calls.begin(key)
    calls.begin(0)
    before = [calls.get(key) is not None for key in (0, 1)]
    calls.begin("one more")

    assert before == [True, True]
    assert [calls.get(key) is not None for key in (0, 1, 2)] == [True, False, True]
    assert calls.count == 258


def test_an_answer_is_written_once_whatever_comes_then(calls, clock):
    first = calls.begin()
    first.answered()
    calls.begin()
    clock.at += 60
    first.answered()

    assert first.arrival(calls.begin()) == "arrived"


def test_by_the_clock_what_a_call_gives_that_is_under_way_is_not_doubtful(calls):
    assert not Given(now(), calls.begin()).is_doubtful(None)


def test_calls_of_earlier_servers_tell_nothing_of_each_other(calls):
    assert calls.given_up().arrival(calls.given_up()) == "not yet"


def test_what_was_said_to_a_question_is_given_until_its_answer_is_lost(calls):
    call = calls.begin()
    given = Answered("2", Given(now(), call))
    before = given.is_given
    call.lost()

    assert (Answered("2").is_given, before, given.is_given) == (False, True, False)
    assert Answered("2", Given(now())).is_given


async def test_a_watch_that_was_cleared_waits_for_what_comes_then():
    watch = Watch()
    watch.note({"high"})
    watch.clear()
    waiting = asyncio.create_task(watch.wait())
    await asyncio.wait([waiting], timeout=0)
    early = waiting.done()
    watch.note({"low", "records"})

    assert (early, await waiting) == (False, frozenset({"low", "records"}))


def test_an_answer_says_nothing_that_it_was_not_told():
    task = read_task()

    assert Item(task, "stored") == Item(
        task, "stored", attempt=0, new=False, holder="", question="", asked_by="", answers=(),
        decision=None, given_at=None,
    )  # fmt: skip
    assert Inbox() == Inbox(
        tasks=(), results=(), results_given_at={}, replied={}, waiting=None, held_elsewhere=0,
        degraded="", notes=(), next_cursor=None, held=0, peeked=False, thread_id=None,
        results_elsewhere=0, more_results=False, timed_out=False,
    )  # fmt: skip


def test_an_answer_is_empty_without_a_task_a_result_and_a_note():
    task = Item(read_task(), "stored")

    assert Inbox(waiting={"low": 3}, held=2).empty
    assert not Inbox(tasks=(task,)).empty
    assert not Inbox(results=(None,)).empty
    assert not Inbox(notes=("Parked.",)).empty
