# SPDX-License-Identifier: Apache-2.0
"""The three ways in which a turn at the inbox ends, and who of those that wait has the next."""

import asyncio
from types import SimpleNamespace

import pytest
from messages import read_record, read_task

from mcp_agentbus.errors import BusUnreachable, Refused
from mcp_agentbus.handoff.call import Calls
from mcp_agentbus.handoff.claim import Claim
from mcp_agentbus.handoff.intake.answer import Inbox, Item
from mcp_agentbus.handoff.intake.turn import Turn
from mcp_agentbus.handoff.intake.watches import Watches

TASK = read_task()
RESULT = read_record(state="completed")


class Claims(dict):
    """Claims that note which were given to a reader, and which back."""

    def __init__(self):
        self.given, self.given_back = set(), []

    def give(self, task_ids, call):
        self.given.update(task_ids)

    async def give_back(self, claim, *, counts, reason):
        del self[claim.task.id]
        self.given_back.append((claim.task.id, counts, reason))


class Outcomes:
    """Results that were taken, and those of them that were given to a reader, or back."""

    def __init__(self):
        self.taken, self.given, self.given_back = set(), set(), set()

    def give(self, records, call):
        self.given.update(record.task_id for record in records)

    async def give_back(self, record):
        self.taken.remove(record.task_id)
        self.given_back.add(record.task_id)


@pytest.fixture
def session():
    """A session that holds nothing, on no bus."""
    background = []
    return SimpleNamespace(
        claims=Claims(),
        entrusted=Claims(),
        outcomes=Outcomes(),
        lock=asyncio.Lock(),
        successor="",
        see_open=lambda: None,
        ungranted=frozenset(),
        background=background,
        finish_in_background=lambda work: background.append(asyncio.ensure_future(work)),
    )


def look(session, then=None):
    """Look into the inbox: claim a task, show a result, and do something else at the end."""

    async def found():
        session.claims[TASK.id] = Claim(TASK, None, None, 1)
        session.outcomes.taken.add(RESULT.task_id)
        if then:
            await then()
        return Inbox(tasks=(Item(TASK, "claimed", 1, new=True),), results=(RESULT,))

    return found()


async def taken(session, then=None):
    async with Turn(session, Calls().begin()) as turn:
        return turn.give(await turn.take(look(session, then)))


async def test_an_answered_turn_leaves_its_tasks_held_and_given(session):
    inbox = await taken(session)

    assert [item.task for item in inbox.tasks] == [TASK]
    assert set(session.claims) == session.claims.given == {TASK.id}
    assert session.outcomes.taken == session.outcomes.given == {RESULT.task_id}
    assert not session.lock.locked()


async def test_a_failed_turn_leaves_its_tasks_held_and_still_to_be_given(session):
    async def fails():
        raise BusUnreachable

    with pytest.raises(BusUnreachable):
        await taken(session, fails)

    assert (set(session.claims), session.claims.given) == ({TASK.id}, set())
    assert (session.outcomes.taken, session.outcomes.given) == ({RESULT.task_id}, set())
    assert not session.lock.locked()


async def cancelled(session, then=None):
    """Cancel a turn in the midst of its look, then let the look go on."""
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def stopped():
        reached.set()
        await go_on.wait()
        if then:
            await then()

    call = asyncio.create_task(taken(session, stopped))
    await reached.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    return go_on


@pytest.mark.promise(11)
async def test_a_cancelled_turn_gives_back_what_it_took_without_an_attempt(session):
    go_on = await cancelled(session)
    go_on.set()
    await asyncio.gather(*session.background)

    assert session.claims.given_back == [(TASK.id, False, "the call that claimed it was cancelled")]
    assert (session.outcomes.given, session.outcomes.given_back) == (set(), {RESULT.task_id})
    assert not session.lock.locked()


@pytest.mark.promise(11)
async def test_no_turn_begins_before_a_cancelled_one_is_undone(session):
    go_on = await cancelled(session)
    following = asyncio.create_task(taken(session))
    await asyncio.wait([following], timeout=0)

    assert not following.done()
    assert session.claims.given_back == []
    go_on.set()
    await following
    assert [task_id for task_id, _, _ in session.claims.given_back] == [TASK.id]
    assert set(session.claims) == {TASK.id}


async def test_a_turn_that_fails_after_it_was_cancelled_is_a_failed_one(session):
    async def fails():
        raise BusUnreachable

    go_on = await cancelled(session, fails)
    go_on.set()
    await asyncio.gather(*session.background)

    assert (set(session.claims), session.claims.given) == ({TASK.id}, set())
    assert (session.outcomes.taken, session.outcomes.given) == ({RESULT.task_id}, set())
    assert not session.lock.locked()


@pytest.mark.promise(11)
@pytest.mark.parametrize("after", [1, 2, 3])
async def test_a_cancel_in_the_moment_of_the_answer_still_undoes_it(session, after):
    """So many rounds of the loop later: at the third the look's outcome is in its caller's hands."""

    def cancel(rounds):
        if rounds:
            asyncio.get_running_loop().call_soon(cancel, rounds - 1)
        else:
            call.cancel()

    async def cancels_the_call():
        cancel(after)

    call = asyncio.create_task(taken(session, cancels_the_call))
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.gather(*session.background)

    assert [task_id for task_id, _, _ in session.claims.given_back] == [TASK.id]


async def test_a_call_cancelled_while_it_waits_for_its_turn_leaves_the_other_alone(session):
    await session.lock.acquire()
    waiting = asyncio.create_task(taken(session))
    await asyncio.wait([waiting], timeout=0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert session.lock.locked()
    assert session.background == []


async def test_a_session_that_is_over_has_no_turn_and_says_where_to_go(session):
    session.successor = "another"

    with pytest.raises(Refused, match="was replaced") as refused:
        async with Turn(session, Calls().begin()):
            pass

    assert "the other server" in refused.value.hint
    assert not session.lock.locked()


async def test_of_calls_that_wait_the_last_one_hears_first():
    """One that waits for longer may have been given up."""
    watches, heard = Watches(), []

    async def waits(name):
        with watches.begun() as watch:
            places = await watch.wait()
            heard.append((name, places))

    tasks = [asyncio.create_task(waits(name)) for name in ("first", "last")]
    await asyncio.wait(tasks, timeout=0)
    count = watches.count
    watches.note("high", "low")
    await asyncio.gather(*tasks)

    assert [name for name, _ in heard] == ["last", "first"]
    assert {places for _, places in heard} == {frozenset({"high", "low"})}
    assert (count, watches.count) == (2, 0)


async def test_what_a_session_held_before_a_cancelled_turn_it_holds_still(session):
    """Nor is anything given back of what is over by then."""
    held = read_task(id="t2")
    session.claims[held.id] = Claim(held, None, None, 1)

    async def found():
        items = (Item(held, "claimed", 1), Item(read_task(id="t3"), "claimed", 1, new=True))
        return Inbox(tasks=items, results=())

    async def answered():
        async with Turn(session, Calls().begin()) as turn:
            await turn.take(found())
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await answered()
    await asyncio.gather(*session.background)

    assert (set(session.claims), session.claims.given_back) == ({"t2"}, [])


async def test_an_answer_waits_for_no_time_to_pass(session, monkeypatch):
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", None)

    assert (await taken(session)).results == (RESULT,)
