# SPDX-License-Identifier: Apache-2.0
"""A session of the real Claude Code with the plugin: its hook tells of mail, its tools do the work."""

import asyncio
import json
import subprocess

import pytest
from hosts.claude_user import TOOLS, at_model, install
from hosts.standin import ANSWERING, CANARY, Standin
from listeners import listening
from local_server import server_folder

from mcp_agentbus import roster
from mcp_agentbus.bus import Bus
from mcp_agentbus.config import Agent
from mcp_agentbus.inbox import watch_inbox
from mcp_agentbus.send import send_task
from mcp_agentbus.session import Session

pytestmark = pytest.mark.node


async def test_the_model_is_told_of_mail_by_the_hook_and_hands_its_result_back(
    machine, tree, tmp_path
):
    install(machine, tree)
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / ".agentbus.toml").write_text('agent = "coder"\n')
    with server_folder(tmp_path / "bus"), Standin(ANSWERING) as model:
        async with Bus.connect(machine.settings) as bus, Session(bus, Agent("planner")) as planner:
            await planner.called()
            await roster.register(bus, Agent("coder"), None)
            async with listening(machine.settings):
                [receipt] = await send_task(planner, "coder", "Count", f"the tests {CANARY}")
                ended = await asyncio.to_thread(
                    subprocess.run,
                    [machine.program("claude"), "-p", "--allowedTools", *sorted(TOOLS)],
                    input="Go on.\n", env=dict(at_model(machine, model).environ), cwd=folder,
                    capture_output=True, text=True, timeout=120, check=False,
                )  # fmt: skip
                found = await watch_inbox(planner, timeout_s=10, task_id=receipt.task_id)

    first = json.dumps(model.shown[0])
    assert "1 task waits in your agentbus inbox. Call read_inbox." in first, ended.stdout
    assert CANARY not in first
    assert CANARY in json.dumps(model.shown[1])  # in the frame of read_inbox
    assert [(one.task_id, one.summary) for one in found.results] == [(receipt.task_id, "done")]
