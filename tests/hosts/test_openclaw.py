# SPDX-License-Identifier: Apache-2.0
"""The real OpenClaw gateway, told by its wake hook: what its model is shown, and what comes back."""

import contextlib
import json
import subprocess
import sys

import node_tools
import pytest
import served
from gateway import free_port, onboarding, running
from listeners import configure, listening
from standin import ANSWERING, CANARY, NOTICE, Standin

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import watch_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import roster

pytestmark = pytest.mark.node

SECRET = "hook-secret-1"  # OpenClaw wants it to differ from the gateway's own token
COMMAND_WITHIN_S = 120  # only a hang takes as long


async def test_a_running_gateway_is_told_and_its_agent_reads_and_answers(tmp_path):
    with (
        embedded.ephemeral() as settings,
        Standin(ANSWERING) as model,
        gateway(tmp_path, settings, model) as url,
    ):
        token = tmp_path / "token"
        token.write_text(f"{SECRET}\n")
        token.chmod(0o600)
        claw = {"host": "openclaw", "wake": "work", "gateway_url": url, "token_file": str(token)}
        configure(settings, tmp_path, claw=claw)
        async with (
            Bus.connect(settings) as bus,
            Session(bus, Agent("planner")) as planner,
            listening(settings) as listener,
        ):
            await planner.called()
            await planner.can_read()
            await roster.register(bus, Agent("claw"), None)
            await send_task(planner, "claw", f"{CANARY} subject", f"{CANARY} body", priority="high")
            await listener.logged("ended", agent="claw", outcome="asked")
            await listener.logged("read", agent="claw")
            result = await watch_inbox(planner, timeout_s=60)

    first = model.shown[0]
    assert NOTICE in json.dumps(first["messages"])
    assert CANARY not in json.dumps(first)
    assert [one.summary for one in result.results] == ["done"]


@contextlib.contextmanager
def gateway(folder, settings, model):
    """Run a gateway with the agent `claw` and no other settings than these; its URL."""
    openclaw = node_tools.openclaw()
    argv = [openclaw.node, openclaw.modules / "openclaw/openclaw.mjs"]
    home = folder / "home"
    home.mkdir()
    environ = {
        "PATH": f"{openclaw.node.parent}:/usr/bin:/bin",
        "HOME": str(home),
        "TERM": "xterm",
        "NO_COLOR": "1",
    }
    port = free_port()
    for command, patch in (
        (onboarding(port, model), {}),
        (["config", "patch", "--stdin"], wishes(settings)),
    ):
        done = subprocess.run(
            [*argv, *command],
            cwd=home, env=environ, input=json.dumps(patch), capture_output=True, text=True,
            timeout=COMMAND_WITHIN_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command[:2]}: {done.stdout}{done.stderr}"
    with running(argv, environ, port):
        yield f"http://127.0.0.1:{port}"


def wishes(settings):
    """Return what a user would set beside what onboarding asks for."""
    server = {
        "command": sys.executable,
        "args": served.command("claw")[1:],
        "env": served.environ(settings.data_dir.parent),
    }
    return {
        # Otherwise its model sees a search for tools in the place of the tools.
        "tools": {"toolSearch": False},
        "hooks": {"enabled": True, "path": "/hooks", "token": SECRET},
        "mcp": {"servers": {"agentbus": server}},
    }
