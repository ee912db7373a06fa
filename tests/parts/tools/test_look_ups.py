# SPDX-License-Identifier: Apache-2.0
"""What is looked up for a name that nobody has: it is refused, and is nobody's afterwards either."""

from contextlib import closing, nullcontext
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from planners_task import TASK
from server_stand_in import NOON

from mcp_agentbus.cli import agent
from mcp_agentbus.cli.parser import parser
from mcp_agentbus.config.identity import Asked
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import UnknownAgent, UnknownTask
from mcp_agentbus.store import roster, subjects
from mcp_agentbus.store.outbox.outbox import Envelope
from mcp_agentbus.store.own_name import Naming
from mcp_agentbus.tools import commands
from mcp_agentbus.tools.typed_command import Command
from mcp_agentbus.wakes.ledger import Ledger

LOOKS = ["parked", "task abcdef", "replay 9"]
DEEDS = ["result abcdef completed", "answer abcdef x"]


async def typed(world, line, given=None):
    """Type it, for an agent that is named or for the folder's; return what was printed."""
    printed = []
    args = parser().parse_args(line.split())
    naming = Naming(Asked(world.bus.settings, given))
    call = Command(args, naming, lambda text, _: printed.append(text), world.bus)
    await commands.start(call)
    return printed


@pytest.mark.parametrize("line", LOOKS + DEEDS)
async def test_a_name_with_a_typing_error_is_refused_and_not_registered(world, line):
    nobody = world.name("nobody")
    with pytest.raises(UnknownAgent, match=f"No agent '{nobody}' is registered. Nothing was done"):
        await typed(world, line, nobody)

    assert await roster.look(world.bus, nobody) is None


@pytest.mark.parametrize("line", ["task {}", "answer {} x"])
async def test_without_a_listener_a_task_of_the_outbox_is_said_to_lie_there(
    world, tmp_path, monkeypatch, line
):
    """As after `leave`, whose listener was ended: that there is no such task was not so."""
    kept = Envelope(TASK.model_copy(update={"id": "ab" * 16}), 1, NOON, is_ours=False)

    async def read(_, *, may_start):
        return () if may_start else (kept,)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commands, "read_outbox", read)

    with pytest.raises(UnknownTask, match="That task is stored here, not yet at the bus") as told:
        await typed(world, line.format("abababab"))
    assert "Run `agentbus listen`" in told.value.hint
    with pytest.raises(UnknownTask, match="cdcdcdcd"):
        await typed(world, line.format("cdcdcdcd"))


@pytest.mark.parametrize("line", LOOKS)
async def test_the_agent_of_a_folder_looks_before_anybody_knows_it(
    world, tmp_path, monkeypatch, line
):
    monkeypatch.chdir(tmp_path)
    try:
        printed = await typed(world, line)
    except UnknownTask:
        printed = []

    assert printed == ["Nothing is parked."] * (line == "parked")


async def test_whoever_is_not_registered_and_has_something_waiting_is_looked_up(world):
    """As what another producer stores: doctor and status name its inbox, and what to type."""
    await world.session("planner")  # makes sure of the streams
    stranger = world.name("stranger")
    await world.bus.publish(subjects.task_subject(stranger, "high", "producer"), b"{}")

    assert await typed(world, "parked", stranger) == ["Nothing is parked."]


@pytest.mark.parametrize("kept", ["config.toml", "roster", "record", "nothing"])
async def test_of_a_name_that_nobody_has_no_wake_is_told(world, tmp_path, capsys, kept):
    name = world.name("codr")
    set_up = {name: Agent(name)} if kept == "config.toml" else {}
    settings = replace(world.bus.settings, state_dir=tmp_path, agents=set_up)
    if kept == "roster":
        await roster.register(world.bus, Agent(name), None)
    with closing(Ledger(settings.ledger_file)) as ledger:
        if kept == "record":
            ledger.note(name, "start", keys=["task a b"], senders=["c"], at=datetime.now(UTC))
    refused = pytest.raises(UnknownAgent, match=f"No agent '{name}' is known")
    with refused if kept == "nothing" else nullcontext():
        await agent.act(parser().parse_args(["agent", "wakes", name]), settings)

    told = {"record": "started for 1 task", "nothing": ""}.get(kept, "was not woken in the last")
    assert told in capsys.readouterr().out
