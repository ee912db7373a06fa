# SPDX-License-Identifier: Apache-2.0
"""A person is told what needs one, by a listener: once, together, and without an archive."""

import json
import subprocess
import sys

import pytest
import served
from listeners import configure, known, listening, send

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.relay import local_socket

AT_ONCE = "human.teller.PAUSE = timedelta(0)"


@pytest.fixture
def house():
    with embedded.ephemeral() as settings:
        yield settings


def told(house, folder, **human):
    """Have a person be told by a program that notes each line; return where."""
    notes = folder / "rung"
    ring = ["/bin/sh", "-c", f'cat >> "{notes}"']
    with house.config_file.open("a") as file:
        file.write("[agents.coder]\n[archive]\nenabled = false\n[human]\n")
        given = {"command": ring, "on": ["needs_approval", "held", "failed"], **human}
        file.writelines(f"{key} = {json.dumps(value)}\n" for key, value in given.items())
    return notes


async def asked(planner, coder):
    """Have a task wait for an approval; return its id."""
    receipt = await send(planner, "coder", priority="normal")
    await read_inbox(coder)
    await publish_result(coder, receipt.task_id, "needs_approval", summary="May I?")
    return receipt.task_id


async def test_each_thing_is_told_once_whatever_becomes_of_the_listener(house, tmp_path):
    configure(house, tmp_path, slow={"command": ["true"], "wake": "hold"})
    notes = told(house, tmp_path)
    async with Bus.connect(house) as bus, Session(bus, Agent("planner")) as planner:
        await known(planner, "coder", "slow")
        async with Session(bus, Agent("coder")) as coder:
            await coder.called()
            async with listening(house) as listener:
                await listener.logged("ready", agent="slow")
                held = await send(planner, "slow")
                await listener.logged("human", told=1)
                await asked(planner, coder)  # within the minute, so it waits
                status = local_socket.ask(house, {"op": "status"})
                assert status["human"] == "ok"
            task_id = await asked(planner, coder)  # while nobody listens
            script = [*served.changed(AT_ONCE), "listen"]
            async with listening(house, script=script) as listener:
                await listener.logged("human", told=2)
                await publish_result(coder, task_id, "failed", summary="No.")
                await listener.logged("human", told=1)

    assert notes.read_text() == (
        f"a wake of slow is held: agentbus task {held.task_id[:8]}\n"
        "2 approvals are needed: agentbus status\n"
        f"coder could not do a task: agentbus task {task_id[:8]}\n"
    )


async def test_what_came_before_a_person_wanted_to_be_told_is_not_told(house, tmp_path):
    house.config_file.touch(0o600)
    async with Bus.connect(house) as bus, Session(bus, Agent("planner")) as planner:
        await known(planner, "coder")
        async with Session(bus, Agent("coder")) as coder:
            await coder.called()
            await asked(planner, coder)
            notes = told(house, tmp_path)
            async with listening(house, script=[*served.changed(AT_ONCE), "listen"]) as listener:
                task_id = await asked(planner, coder)
                await listener.logged("human", told=1)
                # A shell's agent that no file names is this machine's, and a program's is not.
                await known(planner, "shelly", "stranger")
                shells = await send(planner, "shelly", priority="normal")
                approval = ["result", shells.task_id, "needs_approval", "--summary", "May I?"]
                for words in (["inbox"], approval):
                    typed(house, *words, "--agent", "shelly")
                await listener.logged("human", told=1)
                async with Session(bus, Agent("stranger")) as stranger:
                    strangers = await send(planner, "stranger", priority="normal")
                    await read_inbox(stranger)
                    await publish_result(
                        stranger, strangers.task_id, "needs_approval", summary="May I?"
                    )
                    await listener.logged("human", told=1)

    assert notes.read_text() == (
        f"coder needs an approval: agentbus approve {task_id[:8]}, or deny\n"
        f"shelly needs an approval: agentbus approve {shells.task_id[:8]}, or deny\n"
        f"an agent needs an approval: agentbus task {strangers.task_id[:8]}\n"
    )


async def test_one_who_cannot_be_told_reads_why_and_hears_of_it_later(house, tmp_path):
    configure(house, tmp_path, slow={"command": ["true"], "wake": "hold"})
    told(house, tmp_path, command=["no-such-bell"])
    async with Bus.connect(house) as bus, Session(bus, Agent("planner")) as planner:
        await known(planner, "slow")
        async with listening(house) as listener:
            await listener.logged("ready", agent="slow")
            await send(planner, "slow")
            said = (await listener.logged("human"))["error"]
            status = local_socket.ask(house, {"op": "status"})["human"]
            shown = [
                typed(house, *words) for words in (["listen", "--status"], ["human"], ["doctor"])
            ]
            assert local_socket.ask(house, {"op": "status"})["agents"]  # all else goes on

    assert said.startswith("no-such-bell is not there")
    assert status == f"{said} 1 thing to be told of."
    assert "CANNOT TELL YOU: no-such-bell" in shown[0]
    assert "IT CANNOT BE: no-such-bell" in shown[1]
    assert "1 thing waits to be told." in shown[1]
    assert "!!  human" in shown[2]


def typed(house, *words):
    """Return what a command prints."""
    home = str(house.data_dir.parent)
    environ = {"PATH": "/usr/bin:/bin", "HOME": home, "AGENTBUS_HOME": home, "COLUMNS": "400",
               "PYTHONPATH": served.PACKAGE}  # fmt: skip
    argv = [sys.executable, "-m", "mcp_agentbus", *words]
    return subprocess.run(argv, env=environ, capture_output=True, text=True, check=False).stdout
