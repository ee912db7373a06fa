# SPDX-License-Identifier: Apache-2.0
"""A listener that runs follows its user: agents added, removed, and woken by hand."""

import asyncio
import json
import sys

import pytest
import pytest_asyncio
import served
from listeners import configure, listening, recorder, starts

from mcp_agentbus import embedded, local
from mcp_agentbus.bus import Bus
from mcp_agentbus.config import Agent
from mcp_agentbus.send import send_task
from mcp_agentbus.session import Session


@pytest.fixture(scope="module")
def house():
    """A server that this file's listeners have for themselves."""
    with embedded.ephemeral() as settings:
        yield settings


@pytest_asyncio.fixture
async def planner(house):
    async with Bus.connect(house) as bus, Session(bus, Agent("planner")) as session:
        await session.called()
        await session.can_read()
        yield session


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


async def typed(house, *argv):
    """Type `agentbus ARGV`; return its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mcp_agentbus", *argv, env=served.environ(house.data_dir.parent),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def send(planner, to):
    [receipt] = await send_task(planner, to, "Count", "the tests", priority="high")
    return receipt


async def test_an_agent_that_is_added_while_it_runs_is_woken(house, planner, notes):
    configure(house, notes)
    async with listening(house) as listener:
        add = ["agent", "add", "new", "--host", "command", "--dir", str(notes), "--wake", "work"]
        code, said = await typed(house, *add, "--", *recorder(notes))
        assert (code, said.splitlines()[-1]) == (
            0,
            f"The listener that runs (pid {listener.process.pid}) looks after it from now on.",
        )
        await send(planner, "new")
        await listener.logged("read", agent="new")

    assert len(starts(notes)) == 1


async def test_an_agent_that_is_removed_while_it_runs_is_not_started_any_more(
    house, planner, notes
):
    configure(house, notes, gone={"command": recorder(notes)})
    async with listening(house) as listener:
        await listener.logged("ready", agent="gone")
        assert (await typed(house, "agent", "remove", "gone"))[0] == 0
        await send(planner, "gone")
        await listener.logged("held", agent="gone", reason="unknown_host")

    assert starts(notes) == []


async def test_a_configuration_that_cannot_be_read_leaves_the_rules_of_before(
    house, planner, notes
):
    configure(house, notes, kept={"command": recorder(notes, "look")})
    async with listening(house) as listener:
        await listener.logged("ready", agent="kept")
        house.config_file.write_text("[agents.kept\n")
        with pytest.raises(local.AgentbusError, match=r"config\.toml"):
            await asyncio.to_thread(local.ask, house, {"op": "reload"})
        await send(planner, "kept")
        await listener.logged("ended", agent="kept", outcome="exited")
        found = await asyncio.to_thread(local.ask, house, {"op": "status"})
    configure(house, notes)

    assert "config.toml" in found["config"]
    assert len(starts(notes)) == 1


async def test_woken_by_hand_an_agent_is_tried_again_at_once(house, planner, notes):
    configure(house, notes, failing={"command": recorder(notes, "fail")})
    async with listening(house) as listener:
        await listener.logged("ready", agent="failing")
        await send(planner, "failing")
        await listener.logged("held", agent="failing", reason="backoff")
        code, said = await typed(house, "agent", "wake", "failing")
        assert (code, said) == (0, "failing: a wake is under way (waiting: 1 high, 0 other).\n")
        await listener.logged("held", agent="failing", reason="backoff")
        status = json.loads((await typed(house, "listen", "--status", "--json"))[1])

    assert len(starts(notes)) == 2
    assert [one["waiting"]["high"] for one in status["agents"] if one["agent"] == "failing"] == [1]


async def test_waking_by_hand_says_why_nothing_happens(house, planner, notes):
    configure(house, notes, held={"wake": "hold", "command": recorder(notes)})
    async with listening(house) as listener:
        await listener.logged("ready", agent="held")
        assert (await typed(house, "agent", "wake", "held"))[1] == (
            "held: nothing urgent waits (waiting: 0 high, 0 other).\n"
        )
        await send(planner, "held")
        await listener.logged("held", agent="held", reason="profile")
        assert (await typed(house, "agent", "wake", "held"))[1] == (
            "held: held: its user wants no session started for it (waiting: 1 high, 0 other).\n"
        )
        code, said = await typed(house, "agent", "wake", "nobody")

    assert code == 1
    assert "agentbus agent add nobody" in said


async def test_without_a_listener_waking_by_hand_says_how_to_start_one(house):
    code, said = await typed(house, "agent", "wake", "coder")

    assert code == 3
    assert "Run `agentbus listen`" in said
