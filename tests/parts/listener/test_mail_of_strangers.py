# SPDX-License-Identifier: Apache-2.0
"""What a hook tells of tasks whose senders the agent takes none of: nothing, to nobody."""

from dataclasses import replace

import pytest

from mcp_agentbus.config.identity import Identity
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.listener import digest as module
from mcp_agentbus.listener.digest import Digest
from mcp_agentbus.listener.memory import Memory
from mcp_agentbus.listener.state import State
from mcp_agentbus.wakes.ledger import Ledger


@pytest.fixture
async def hook(own_world, tmp_path, monkeypatch):
    """Run a hook of coder's, whose user has said meanwhile whose tasks it takes."""
    ledger = Ledger(tmp_path / "ledger.sqlite3")
    state = State(own_world.bus.settings, own_world.bus, ledger, lambda *_: None)
    monkeypatch.setattr(module, "WITHIN_S", 20)
    monkeypatch.setattr(module, "neighbour_settings", lambda ours, _: ours)
    digest = Digest(state, Memory(tmp_path / "told.json"))

    async def ran(*accept_from, urgent=False):
        me = Agent(own_world.name("coder"), accept_from=accept_from)
        state.watcher.settings = replace(state.settings, agents={me.id: me})

        async def identified(_):
            return Identity(me)

        monkeypatch.setattr(state, "identified", identified)
        asked = {"host": "cursor", "session": "s1", "folder": "/work", "urgent": urgent}
        return await digest.mail(asked)

    yield ran
    ledger.close()


@pytest.fixture
async def sent(own_world):
    """Send coder a task of each lane, high first, by a planner and a lead."""
    coder = await own_world.session("coder")
    planner = await own_world.session("planner")
    lead = await own_world.session("boss", roles=(own_world.name("lead"),))
    for priority in ("high", "normal"):
        await send_task(planner, coder.me.id, "Count", "x", priority=priority)
    return coder.me.id, lead


@pytest.mark.parametrize("urgent", [False, True])
async def test_of_a_strangers_tasks_neither_a_model_nor_a_person_is_told(hook, sent, urgent):
    assert await hook("nobody", urgent=urgent) == {}


async def test_of_the_others_both_are_told_and_these_alone_are_counted(hook, sent):
    coder, lead = sent
    for priority in ("high", "normal", "low"):
        await send_task(lead, coder, "Count", "x", priority=priority)

    told = await hook(f"role:{lead.me.roles[0]}")

    assert told["text"].startswith("3 tasks wait in your agentbus inbox, 1 of them high priority.")
    assert told["person"].startswith("agentbus: 1 urgent task waits here.")
    assert (await hook("*"))["text"].startswith("New since the last notice: ")


async def test_the_end_of_a_turn_is_put_off_by_those_alone_who_may_wake_its_agent(
    hook, sent, monkeypatch
):
    coder, lead = sent
    monkeypatch.setattr(State, "trusted", lambda _: frozenset({lead.me.id}))

    assert await hook("*", urgent=True) == {}
    await send_task(lead, coder, "Count", "x", priority="high")

    told = await hook("*", urgent=True)
    assert told["text"].startswith("1 task waits in your agentbus inbox, it is high priority.")
    assert (await hook("*"))["text"].startswith("New since the last notice: 2 tasks wait")
