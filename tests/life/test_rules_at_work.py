# SPDX-License-Identifier: Apache-2.0
"""A listener that runs follows its user: agents added, removed, and woken by hand."""

import asyncio
import json
import sys

import pytest
import served
from listeners import configure, listening, recorder, send, starts
from timeless import timeless

from mcp_agentbus.core.notices import WHY
from mcp_agentbus.relay import local_socket


async def test_an_agent_that_is_added_while_it_runs_is_woken(house, planner, notes):
    configure(house, notes)
    async with listening(house) as listener:
        add = ["agent", "add", "new", "--host", "command", "--dir", str(notes), "--wake", "work"]
        code, said = await served.typed(house.data_dir.parent, *add, "--", *recorder(notes))
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
        assert (await served.typed(house.data_dir.parent, "agent", "remove", "gone"))[0] == 0
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
        with pytest.raises(local_socket.AgentbusError, match=r"config\.toml"):
            await asyncio.to_thread(local_socket.ask, house, {"op": "reload"})
        await send(planner, "kept")
        await listener.logged("ended", agent="kept", outcome="exited")
        found = await asyncio.to_thread(local_socket.ask, house, {"op": "status"})
    configure(house, notes)

    assert "config.toml" in found["config"]
    assert len(starts(notes)) == 1


async def test_a_chmod_that_was_asked_for_is_enough_for_the_rules_to_hold(house, notes):
    configure(house, notes)
    async with listening(house):
        configure(house, notes, fresh={"command": recorder(notes)})
        house.config_file.chmod(0o666)
        with pytest.raises(local_socket.AgentbusError, match="changed by other users"):
            await asyncio.to_thread(local_socket.ask, house, {"op": "reload"})
        house.config_file.chmod(0o600)
        await asyncio.to_thread(local_socket.ask, house, {"op": "reload"})
        found = await asyncio.to_thread(local_socket.ask, house, {"op": "status"})

    assert found["config"] == "ok"
    assert [one["profile"] for one in found["agents"] if one["agent"] == "fresh"] == ["work"]


async def test_woken_by_hand_an_agent_is_tried_again_at_once(house, planner, notes):
    configure(house, notes, failing={"command": recorder(notes, "fail")})
    async with listening(house) as listener:
        await listener.logged("ready", agent="failing")
        await send(planner, "failing")
        await listener.logged("held", agent="failing", reason="backoff")
        code, said = await served.typed(house.data_dir.parent, "agent", "wake", "failing")
        assert (code, said) == (0, "failing: a wake is under way (waiting: 1 high, 0 other).\n")
        await listener.logged("held", agent="failing", reason="backoff")
        status = json.loads(
            (await served.typed(house.data_dir.parent, "listen", "--status", "--json"))[1]
        )

    assert len(starts(notes)) == 2
    assert [one["waiting"]["high"] for one in status["agents"] if one["agent"] == "failing"] == [1]


async def test_waking_by_hand_says_why_nothing_happens(house, planner, notes):
    configure(house, notes, held={"wake": "hold", "command": recorder(notes)})
    async with listening(house) as listener:
        await listener.logged("ready", agent="held")
        assert (await served.typed(house.data_dir.parent, "agent", "wake", "held"))[1] == (
            "held: nothing waits that may wake it (waiting: 0 high, 0 other).\n"
        )
        await send(planner, "held")
        await listener.logged("held", agent="held", reason="profile")
        assert (await served.typed(house.data_dir.parent, "agent", "wake", "held"))[1] == (
            "held: held: its user wants no session started for it (waiting: 1 high, 0 other).\n"
        )
        code, said = await served.typed(house.data_dir.parent, "agent", "wake", "nobody")
        status = json.loads(
            (await served.typed(house.data_dir.parent, "listen", "--status", "--json"))[1]
        )

    [standing] = [one for one in status["agents"] if one["agent"] == "held"]
    assert (standing["reason"], standing["held"]) == ("profile", WHY["profile"])
    assert code == 1
    assert "agentbus agent add nobody" in said


async def test_the_last_wakes_say_how_they_ended_and_what_was_printed_in_a_frame(
    house, planner, notes
):
    code = "import sys; sys.stdin.read(); print('\\x1b[2Jbusy'); sys.exit(4)"
    configure(house, notes, printing={"command": [sys.executable, "-S", "-c", code]})
    assert await served.typed(house.data_dir.parent, "agent", "wakes", "printing") == (
        0,
        "printing was not woken in the last 30 days.\n",
    )
    async with listening(house) as listener:
        await listener.logged("ready", agent="printing")
        receipt = await send(planner, "printing")
        await listener.logged("held", agent="printing", reason="backoff")
    _, said = await served.typed(house.data_dir.parent, "agent", "wakes", "printing")
    [wake] = json.loads(
        (await served.typed(house.data_dir.parent, "agent", "wakes", "printing", "--json"))[1]
    )

    first, opening, shown, _ = said.splitlines()
    assert "started for 1 task \u00b7 exit code 4 after N s \u00b7 IT STILL WAITS" in timeless(
        first
    )
    assert opening.endswith("text from agent printing, not from your user")
    assert shown == "    \\x1b[2Jbusy"
    assert (wake["tasks"], wake["exit_code"], wake["read"]) == ([receipt.task_id], 4, False)


async def test_without_a_listener_waking_by_hand_says_how_to_start_one(house):
    code, said = await served.typed(house.data_dir.parent, "agent", "wake", "coder")

    assert code == 1
    assert "Run `agentbus listen`" in said
