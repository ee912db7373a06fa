# SPDX-License-Identifier: Apache-2.0
"""A consumer's state that a power cut has torn: what waits there is handed out after a start anew."""

import os
import signal

import pytest
from local_server import is_gone, until

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.own import torn
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.doctor import server as doctor
from mcp_agentbus.errors import StoreFull
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session

FAILS = (
    "[7] 2026/11/29 02:15:14.670976 [WRN] Consumer create failed for '$G > {}': "
    "error creating store for consumer: corrupt state file (10104)\n"
)


def states(files, consumer="coder_normal"):
    return files.store / "jetstream/$G/streams/AGENTBUS_TASKS/obs" / consumer


async def test_what_waits_is_read_again_once_doctor_has_mended_it(settings, files):
    async with Bus.connect(settings) as bus, Session(bus, Agent("planner")) as planner:
        async with Session(bus, Agent("coder")) as coder:
            await read_inbox(coder)
            await send_task(planner, "coder", "One", "x")
            await read_inbox(coder)
        await send_task(planner, "coder", "Two", "x")
    server = embedded.find(settings)
    os.kill(server.pid, signal.SIGKILL)
    until(lambda: is_gone(server.pid), "it is gone")
    os.truncate(states(files) / "o.dat", 8)

    async with Bus.connect(settings) as bus, Session(bus, Agent("coder")) as coder:
        with pytest.raises(StoreFull, match=r"cannot write or read.*agentbus doctor --fix"):
            await read_inbox(coder)
    check = doctor._writing(settings, "it runs")
    assert (check.state, "coder_normal" in check.said) == ("wrong", True)
    check.mend.do()

    assert doctor._writing(settings, "it runs").state == "ok"
    assert [path.name.partition("-")[2] for path in (files.root / "damaged").iterdir()] == [
        "AGENTBUS_TASKS-coder_normal"
    ]
    async with Bus.connect(settings) as bus, Session(bus, Agent("coder")) as coder:
        found = await read_inbox(coder)
    assert sorted(item.task.subject for item in found.tasks) == ["One", "Two"]


@pytest.mark.parametrize(
    ("log", "there", "found"),
    [
        (FAILS.format("AGENTBUS_TASKS > coder_normal"), ["coder_normal"], ["coder_normal"]),
        (FAILS.format("AGENTBUS_TASKS > coder_normal") * 2, ["coder_normal"], ["coder_normal"]),
        (FAILS.format("AGENTBUS_TASKS > coder_normal"), [], []),
        (FAILS.format("AGENTBUS_TASKS > ../coder_normal"), ["coder_normal"], []),
        (
            FAILS.format("AGENTBUS_TASKS > coder_normal") + "[INF] Starting nats-server\n",
            ["coder_normal"],
            [],
        ),
        ("", ["coder_normal"], []),
    ],
)
def test_those_that_the_log_of_the_last_start_names_are_set_aside(files, log, there, found):
    for name in there:
        states(files, name).mkdir(parents=True)
    files.root.mkdir(parents=True, exist_ok=True)
    files.log.write_text(log)

    assert [each.name for each in torn.states(files)] == found
    torn.set_aside(files)
    torn.set_aside(files)

    assert [name for name in there if not states(files, name).exists()] == found
