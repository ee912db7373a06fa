# SPDX-License-Identifier: Apache-2.0
"""Sessions of the real Claude Code with the plugin: a hook tells of mail, the tools do the work."""

import asyncio
import json
import subprocess

import pytest
from claude_user import TOOLS, at_model
from hooking import NORMAL, RESULT
from listeners import listening
from local_server import server_folder
from standin import ANSWERING, CANARY, Standin

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.store import roster, streams

pytestmark = pytest.mark.node

ASKING = [("send_task", {"to": "coder", "subject": "Count", "body": f"the tests {CANARY}"})]


class Told(Standin):
    """A model that follows its plan if a hook has told it so."""

    def __init__(self, plan, notice):
        super().__init__(plan)
        self._plan, self._notice = plan, notice

    def answer(self, request):
        """Return as `Standin.answer`."""
        self.plan = self._plan if self._notice in json.dumps(request) else []
        return super().answer(request)


async def told(machine, folder, plan, notice):
    """Run sessions until one is told by a hook; return what its model was shown from then on.

    On a busy machine a hook may be late, and is silent; and what else the host asks may come first.
    """
    while True:
        shown = await worked(machine, folder, Told(plan, notice))
        for number, one in enumerate(shown):
            if notice in one:
                return shown[number:]


async def worked(machine, folder, model):
    """Run a session in a folder; what its model was shown."""
    with model:
        await asyncio.to_thread(
            subprocess.run,
            [machine.program("claude"), "-p", "--allowedTools", *sorted(TOOLS)],
            input="Go on.\n", env=dict(at_model(machine, model).environ), cwd=folder,
            capture_output=True, text=True, timeout=150, check=True,
        )  # fmt: skip
    return [json.dumps(one) for one in model.shown]


def folder_of(agent, parent):
    folder = parent / agent
    folder.mkdir()
    (folder / ".agentbus.toml").write_text(f'agent = "{agent}"\n')
    return folder


async def test_one_hands_a_task_to_another_whose_hook_tells_of_it_and_the_result_comes_back(
    user_with_bus, tmp_path
):
    machine, _ = user_with_bus
    planner, coder = folder_of("planner", tmp_path), folder_of("coder", tmp_path)
    with server_folder(tmp_path / "bus"):
        async with Bus.connect(machine.settings) as bus:
            await streams.ensure_streams(bus)
            await roster.register(bus, Agent("coder"), None)
            async with listening(machine.settings):
                asked = await worked(machine, planner, Standin(ASKING))
                done = await told(machine, coder, ANSWERING, NORMAL)
                seen = await told(machine, planner, [("read_inbox", {})], RESULT)

    for name in TOOLS:
        assert name in asked[0]
    assert "agentbus:using-agentbus" in asked[0]  # the skill
    assert "in your agentbus inbox" not in asked[0]
    assert "stored" in asked[1]
    assert CANARY not in done[0]
    assert CANARY in done[1]  # in the frame of read_inbox
    assert "completed" in seen[1]
