# SPDX-License-Identifier: Apache-2.0
"""An agent whose desk the bus refuses to open: it is looked at all the same, and that is said."""

import asyncio
from dataclasses import replace

import pytest

from mcp_agentbus.bus.login.account import NotGranted
from mcp_agentbus.bus.replies import ApiError
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.core.notices import Counts
from mcp_agentbus.errors import NotAllowed
from mcp_agentbus.listener import loop as loops
from mcp_agentbus.listener import state as states
from mcp_agentbus.listener import status
from mcp_agentbus.listener.desk import Desk
from mcp_agentbus.listener.loop import Loop
from mcp_agentbus.listener.requests import Requests
from mcp_agentbus.store import roster
from mcp_agentbus.wakes.demand import Demand


async def others_turn():
    """Let go on what waits for nothing else."""
    turn = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(turn.set_result, None)
    await turn


class ThereAtOnce:
    """A bus that is there and says nothing more."""

    async def reconnected(self, _):
        return True


@pytest.fixture
def state(state_on):
    """A listener's state, with a bus that is there."""
    return state_on(ThereAtOnce())


def kept(loop, desk, times):
    """Keep a desk until it was looked at so often; the pauses between are short."""
    done, looks = asyncio.Event(), 0

    async def look(_):
        nonlocal looks
        looks += 1
        await others_turn()
        desk.changed.set()
        if looks == times:
            done.set()

    loop.look = look
    return done


async def test_an_agent_whose_desk_is_refused_for_good_is_looked_at_and_said_once(state, events):
    desk, loop, tried = Desk("coder"), Loop(state, None, None), []

    async def refused(_):
        tried.append(True)
        raise ApiError(10100)

    loop._subscribe = refused
    looked = kept(loop, desk, times=3)
    keeping = asyncio.ensure_future(loop._keep(desk))
    async with asyncio.timeout(5):
        await looked.wait()
    keeping.cancel()

    assert (len(tried), events) == (1, ["bus"])  # tried anew with the looks that no sign brings
    said = status.agent_data(desk, None, 0, away=False)["says"]
    assert said.startswith("it is looked at every half minute only: The bus server refused this")


async def test_a_desk_that_was_refused_is_tried_again_and_opened(state, events, monkeypatch):
    monkeypatch.setattr(loops, "LOOK_AGAIN_S", 0.0)
    desk, loop, answers = Desk("coder"), Loop(state, None, None), [NotAllowed(), NotAllowed()]

    async def refused_twice(_):
        if answers:
            raise answers.pop()

    loop._subscribe = refused_twice
    looked = kept(loop, desk, times=3)
    keeping = asyncio.ensure_future(loop._keep(desk))
    async with asyncio.timeout(5):
        await looked.wait()
    keeping.cancel()

    assert (desk.deaf, events) == ("", ["bus", "ready"])


@pytest.mark.parametrize(
    ("account", "roles", "is_again"),
    [("laptop", ("review",), True), ("laptop", (), False), (None, ("review",), False)],
)
async def test_roles_that_an_account_may_lose_and_get_back_are_registered_again(
    state, monkeypatch, account, roles, is_again
):
    monkeypatch.setattr(states, "_GRANTED_AGAIN_S", 0.0)
    agents = {"coder": Agent("coder", roles=roles)}
    state.watcher.settings = replace(state.settings, account=account, agents=agents)
    desk, loop, tried = Desk("coder"), Loop(state, None, None), []

    async def subscribe(_):
        tried.append(True)

    loop._subscribe = subscribe
    looked = kept(loop, desk, times=3)
    keeping = asyncio.ensure_future(loop._keep(desk))
    async with asyncio.timeout(5):
        await looked.wait()
    keeping.cancel()

    assert (len(tried) > 1) is is_again


async def test_an_agent_that_has_lost_a_role_is_looked_at_without_it(state, events):
    desk, loop = Desk("coder"), Loop(state, None, None)

    await loop._could_not_look(desk, NotGranted("review"))

    assert (desk.ungranted, desk.changed.is_set()) == ({"review"}, True)
    assert (desk.blind, events) == ("", [])


async def test_an_agent_that_cannot_be_looked_at_is_promised_no_wake(state, events, monkeypatch):
    desk, loop, told = Desk("coder"), Loop(state, None, None), []

    async def beat_for(_, agent, __, holds):
        told.append((agent, holds))

    monkeypatch.setattr(roster, "beat_for", beat_for)
    monkeypatch.setattr(loop, "_is_here", lambda _: True)
    await loop._publish_prospects(desk)
    for _ in range(3):
        await loop._could_not_look(desk, NotAllowed())

    assert [holds is None for _, holds in told] == [False, True]
    assert events == ["bus"]
    assert "is not woken" in status.agent_data(desk, None, 0, away=False)["says"]


async def test_of_agents_that_are_counted_one_that_fails_takes_nothing_from_the_others(state):
    desks = state.desks = {agent: Desk(agent) for agent in ("coder", "planner", "tester")}
    desks["coder"].count(Counts(high=3))

    async def look(agent):
        if agent == "coder":
            raise NotAllowed
        return Demand(Counts(high=1), ())

    state.look = look
    asked = Requests(state, None, None, None, None)
    waiting = [asked._agent(desk)["waiting"] for desk in desks.values()]
    assert waiting == [vars(Counts(high=3)), None, None]  # nobody has looked

    await asked._count()

    waiting = [asked._agent(desk)["waiting"] for desk in desks.values()]
    assert waiting == [None, vars(Counts(high=1)), vars(Counts(high=1))]
