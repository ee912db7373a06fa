# SPDX-License-Identifier: Apache-2.0
"""The three ways in which a turn at the inbox ends, and what each leaves behind."""

import asyncio
from types import SimpleNamespace

import pytest
from messages import read_record, read_task

from mcp_agentbus.errors import BusUnreachable
from mcp_agentbus.handoff.claims import Claim
from mcp_agentbus.handoff.outcomes import Shown
from mcp_agentbus.handoff.turn import Inbox, Item, Turn

TASK = read_task()
RESULT = read_record(state="completed")


class Claims(dict):
    """Claims that note which were given back."""

    def __init__(self):
        self.unshown, self.given_back = set(), []

    async def give_back(self, claim, *, counts, reason):
        del self[claim.task.id]
        self.given_back.append((claim.task.id, counts, reason))


class Outcomes:
    """Results that are shown, and those that are to be shown again."""

    def __init__(self):
        self.shown, self.again = {}, set()

    def hide(self, before):
        self.again |= self.shown.keys() - before.keys()
        self.shown = dict(before)

    async def unshow(self, record):
        del self.shown[record.task_id]
        self.again.add(record.task_id)


@pytest.fixture
def session():
    """A session that holds nothing, on no bus."""
    background = []
    return SimpleNamespace(
        claims=Claims(),
        outcomes=Outcomes(),
        lock=asyncio.Lock(),
        background=background,
        finish_in_background=lambda work: background.append(asyncio.ensure_future(work)),
    )


def look(session, then=None):
    """Look into the inbox: claim a task, show a result, and do something else at the end."""

    async def found():
        session.claims[TASK.id] = Claim(TASK, None, None, 1)
        session.claims.unshown.add(TASK.id)
        session.outcomes.shown[RESULT.task_id] = Shown(RESULT, 1, None)
        if then:
            await then()
        return Inbox(tasks=(Item(TASK, "claimed", 1, new=True),), results=(RESULT,))

    return found()


async def taken(session, then=None):
    async with Turn(session) as turn:
        return turn.show(await turn.take(look(session, then)))


async def test_an_answered_turn_leaves_its_tasks_held_and_shown(session):
    inbox = await taken(session)

    assert [item.task for item in inbox.tasks] == [TASK]
    assert set(session.claims) == {TASK.id}
    assert session.claims.unshown == set()
    assert set(session.outcomes.shown) == {RESULT.task_id}
    assert not session.lock.locked()


async def test_a_failed_turn_leaves_its_tasks_held_and_still_to_be_shown(session):
    async def fails():
        raise BusUnreachable

    with pytest.raises(BusUnreachable):
        await taken(session, fails)

    assert set(session.claims) == session.claims.unshown == {TASK.id}
    assert (session.outcomes.shown, session.outcomes.again) == ({}, {RESULT.task_id})
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
    assert (session.outcomes.shown, session.outcomes.again) == ({}, {RESULT.task_id})
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

    assert set(session.claims) == session.claims.unshown == {TASK.id}
    assert session.outcomes.again == {RESULT.task_id}
    assert not session.lock.locked()


@pytest.mark.promise(11)
async def test_a_cancel_in_the_moment_of_the_answer_still_undoes_it(session):
    async def cancels_the_call():
        asyncio.get_running_loop().call_soon(call.cancel)

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
