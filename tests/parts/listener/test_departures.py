# SPDX-License-Identifier: Apache-2.0
"""Who says on the roster that a session has ended: itself, and its listener of one that cannot."""

import pytest

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.listener.desk import Desk
from mcp_agentbus.listener.loop import Loop
from mcp_agentbus.store import roster, subjects
from mcp_agentbus.store.queries.signs import signs_of_life


class Mute:
    """Takes what a member is told."""

    def write(self, _):
        """Drop it."""


@pytest.fixture
def state(world, state_on):
    return state_on(world.bus)


@pytest.fixture
def left(world, state):
    """Let go of a session's process; return how its departure is published."""

    def letting_go(session):
        request = {"agent": session.me.id, "host": "mcp", "session": session.id}
        desk = state.desks[session.me.id] = Desk(session.me.id)
        loop, member = Loop(state, None, None), state.members.enter(request, 0, Mute())
        state.members.leave(member)
        loop._left(member)
        return lambda: desk.tell_departures(world.bus)

    return letting_go


async def signs(world, session):
    # What was sent before is stored before; the server takes its time with what nobody confirms.
    await world.bus.publish(subjects.heartbeat_subject("other", "s"), b"{}")
    return [(sign.session, sign.gone) for sign in await signs_of_life(world.bus, session.me.id)]


async def test_of_a_session_that_is_served_here_nothing_is_said_as_it_says_itself_that_it_leaves(
    world, state, left
):
    """Its word may be on its way: a later one that it was killed would stand for 15 s."""
    session = await world.session("coder")
    state.sessions[session.id] = session
    publish = left(session)

    await publish()
    assert await signs(world, session) == [(session.id, False)]
    del state.sessions[session.id]
    await publish()
    assert await signs(world, session) == [(session.id, False)]
    await session.close()
    assert await signs(world, session) == []


async def test_of_one_that_was_served_here_and_was_not_known_yet_it_is_said_for_it(
    world, state, left
):
    session = Session(world.bus, Agent(world.name("coder")))
    await roster.beat(world.bus, session.me, session.id)
    state.sessions[session.id] = session

    await left(session)()

    assert await signs(world, session) == []


async def test_of_one_that_served_itself_it_is_said_that_it_was_killed(world, left):
    session = await world.session("coder")

    await left(session)()

    assert await signs(world, session) == [(session.id, True)]


async def test_of_one_that_has_another_name_by_now_it_is_said_under_the_old_one(world, state, left):
    session, renamed = await world.session("coder"), await world.session("coder-2")
    state.sessions[session.id] = renamed

    await left(session)()

    assert await signs(world, session) == [(session.id, True)]
