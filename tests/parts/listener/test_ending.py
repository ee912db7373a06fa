# SPDX-License-Identifier: Apache-2.0
"""A listener that was told to end starts nobody any more, whatever it is asked meanwhile."""

import asyncio
from dataclasses import replace

import pytest

from mcp_agentbus.config.rules import Rules
from mcp_agentbus.errors import Refused
from mcp_agentbus.listener.desk import Desk
from mcp_agentbus.listener.endpoint import Connection
from mcp_agentbus.listener.loop import Loop
from mcp_agentbus.listener.requests import Requests
from mcp_agentbus.listener.runner import Runner
from mcp_agentbus.wakes.facts import Waiting, Wake

TASK = Waiting("task b 1", "task", "1" * 32, "planner", "planner", "b", priority="high")


@pytest.fixture
def state(settings, tmp_path, state_on):
    """A listener's state without a bus, with two agents that it may start."""
    rules = {agent: Rules(agent, "command", tmp_path, "answer") for agent in ("a", "b")}
    return state_on(None, replace(settings, rules=rules))


@pytest.fixture
async def ending(state):
    """The loop of a listener that ends, and waits for a program that takes its time."""
    loop, told, may_end = (
        Loop(state, None, Runner(state, None, {})),
        asyncio.Event(),
        asyncio.Event(),
    )

    async def program():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.set()
            await may_end.wait()

    desk = state.desks["a"] = Desk("a")
    desk.running = asyncio.ensure_future(program())
    end = asyncio.ensure_future(loop.end())
    await told.wait()
    yield loop
    may_end.set()
    await end


@pytest.mark.parametrize("op", ["wake", "approved"])
async def test_nobody_is_started_for_whoever_asks_then_and_it_says_so(state, ending, events, op):
    state.ledger.clear_failures = pytest.fail
    requests = Requests(state, ending, None, ending._runner, None)
    asked = {"op": op, "agent": "b", "task_id": "1" * 32, "owner": "planner", "inbox": "b"}

    with pytest.raises(Refused, match="The listener is ending") as refused:
        await getattr(requests, op)(Connection(asked, 1, None, None))

    assert "again" in refused.value.hint
    assert (events, list(state.desks)) == ([], ["a"])


async def test_whoever_joins_or_leaves_then_has_no_desk_begun(state, ending):
    assert ending.desk("b").loop is None


async def test_what_was_about_to_be_woken_is_not(state, ending, events):
    with pytest.raises(Refused):
        ending._runner.begin(Desk("b"), Wake("start", (TASK,), (TASK,)))

    assert (events, state.ledger.latest("b")) == ([], [])
