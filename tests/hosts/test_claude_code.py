# SPDX-License-Identifier: Apache-2.0
"""The real Claude Code, woken: what its model is shown, and with which tools."""

import json
import sys

import pytest
import served
from claude_user import KEY, terminal
from listeners import configure, listening
from standin import ANSWERING, CANARY, NOTICE, Standin

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import watch_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session

pytestmark = pytest.mark.node

WITHIN_S = 150  # only a hang takes as long

BUS_TOOLS = {f"mcp__agentbus__{name}" for name in (
    "send_task", "read_inbox", "watch_inbox", "list_agents", "publish_result")}  # fmt: skip


@pytest.fixture
def shop(tmp_path):
    """The agent's folder, below a home that nobody has used."""
    folder = tmp_path / "shop"
    folder.mkdir()
    return folder


def environ(claude, home, model):
    return {
        "PATH": f"{claude}:/usr/bin:/bin",
        "HOME": str(home),
        "TERM": "xterm-256color",
        "ANTHROPIC_BASE_URL": model.url,
        "ANTHROPIC_API_KEY": KEY,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }


def text(request):
    return json.dumps(request["messages"])


async def test_a_closed_one_is_started_with_the_tools_of_its_profile(claude, shop):
    with embedded.ephemeral() as settings, Standin(ANSWERING) as model:
        configure(settings, shop, coder={"host": "claude-code", "wake": "answer"})
        async with (
            Bus.connect(settings) as bus,
            Session(bus, Agent("planner")) as planner,
            listening(settings, **environ(claude, shop.parent, model)) as listener,
        ):
            await asked(planner, listener)
            result = await watch_inbox(planner, timeout_s=WITHIN_S)
            await listener.logged("read", agent="coder")

    first = model.shown[0]
    offered = {tool["name"] for tool in first["tools"]} - {"DeferredToolPlaceholder"}
    assert offered == {"Read", "Glob", "Grep"} | BUS_TOOLS
    assert NOTICE in text(first)
    assert CANARY not in json.dumps(first)
    assert [one.summary for one in result.results] == ["done"]


async def test_a_live_idle_one_is_told_and_no_second_one_is_started(claude, shop):
    with embedded.ephemeral() as settings, Standin(ANSWERING) as model:
        configure(settings, shop, coder={"host": "claude-code", "wake": "answer"})
        variables = environ(claude, shop.parent, model)
        async with (
            Bus.connect(settings) as bus,
            Session(bus, Agent("planner")) as planner,
            listening(settings, **variables) as listener,
        ):
            with terminal(interactive(claude, settings), shop, variables):
                joined = await listener.logged("joined", agent="coder")
                await asked(planner, listener)
                result = await watch_inbox(planner, timeout_s=WITHIN_S)
                await listener.logged("read", agent="coder")
            await listener.end()

    assert joined["can_nudge"] is True
    assert NOTICE in text(model.shown[0])
    assert CANARY not in json.dumps(model.shown[0])
    assert [one.summary for one in result.results] == ["done"]
    assert "started" not in {one["event"] for one in listener.log}


async def asked(planner, listener):
    """Send the agent an urgent task once it is registered."""
    await planner.called()
    await planner.can_read()
    from mcp_agentbus.store import roster

    await roster.register(planner.bus, Agent("coder"), None)
    await send_task(planner, "coder", f"{CANARY} subject", f"{CANARY} body", priority="high")


def interactive(claude, settings):
    """Return the command of an interactive session of the agent `coder`."""
    server = {
        "command": sys.executable,
        "args": served.command("coder")[1:],
        "env": served.environ(settings.data_dir.parent),
        "alwaysLoad": True,
    }
    config = json.dumps({"mcpServers": {"agentbus": server}})
    return [
        claude / "claude", "--allowedTools", "mcp__agentbus", "--strict-mcp-config",
        "--mcp-config", config,
    ]  # fmt: skip
