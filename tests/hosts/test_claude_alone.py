# SPDX-License-Identifier: Apache-2.0
"""The real Claude Code, started by its user's approval: for one task, and given no other."""

import asyncio
import json

import pytest
from claude_user import KEY
from listeners import configure, listening, steps
from persons import at_terminal
from places import outside_and_inside
from standin import CANARY, Standin

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session

pytestmark = pytest.mark.node

ASKS = "May I drop the table carts?"


def environ(claude, home, model):
    return {
        "PATH": f"{claude}:/usr/bin:/bin",
        "HOME": str(home),
        "ANTHROPIC_BASE_URL": model.url,
        "ANTHROPIC_API_KEY": KEY,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }


async def asked(planner, coder):
    """Return the id of a task about which coder asks its user."""
    [receipt] = await send_task(planner, "coder", "Clean up", "please")
    await read_inbox(coder, limit=1)
    await publish_result(coder, receipt.task_id, "needs_approval", summary=ASKS)
    return receipt.task_id


def told(request):
    """Return what the tools have answered, as the model was shown it."""
    blocks = [
        block
        for message in request["messages"]
        if isinstance(message["content"], list)
        for block in message["content"]
        if block.get("type") == "tool_result"
    ]
    return [
        block["content"] if isinstance(block["content"], str)
        else "\n".join(part.get("text", "") for part in block["content"])
        for block in blocks
    ]  # fmt: skip


async def test_it_is_given_that_task_with_its_users_word_and_can_end_no_other(claude, tmp_path):
    shop = tmp_path / "shop"
    shop.mkdir()
    with embedded.ephemeral() as settings, Standin() as model:
        configure(settings, shop, coder={"host": "claude-code", "wake": "hold"})
        async with Bus.connect(settings) as bus, Session(bus, Agent("planner")) as planner:
            async with Session(bus, Agent("coder")) as coder:
                await coder.called()
                tasks = {profile: await asked(planner, coder) for profile in ("answer", "work")}
            [urgent] = await send_task(planner, "coder", CANARY, CANARY, priority="high")
            async with listening(settings, **environ(claude, tmp_path, model)) as listener:
                for profile, task_id in tasks.items():
                    done = {"status": "completed", "summary": profile}
                    model.plan = [
                        ("read_inbox", {}),
                        ("publish_result", {"task_id": urgent.task_id, **done}),
                        ("publish_result", {"task_id": task_id, **done}),
                    ]
                    argv = ("approve", task_id, "--note", "only carts", "--wake", profile)
                    home = settings.data_dir.parent
                    typed = await asyncio.to_thread(at_terminal, home, task_id[:6], *argv)
                    assert typed.code == 0, typed.out
                    await listener.logged("read", agent="coder")
            results = await watch_inbox(planner, task_id=list(tasks.values()), timeout_s=60)
            lives = [dict(await steps(planner, task_id)) for task_id in tasks.values()]
            left = [state for state, _ in await steps(planner, urgent.task_id)]

    assert [(each.task_id, each.summary) for each in results.results] == [
        (task_id, profile) for profile, task_id in tasks.items()
    ]
    last = {each: request for request in model.shown for each in tasks.values()
            if each in json.dumps(request["messages"][0])}  # fmt: skip
    for (profile, task_id), life in zip(tasks.items(), lives, strict=True):
        read, refused, ended = told(last[task_id])
        outside, inside = outside_and_inside(read)
        assert f"Your user has APPROVED this about task {task_id}" in outside
        assert 'with the words "only carts"' in outside
        assert ASKS in inside
        assert ASKS not in outside
        assert f"This session was started for task {task_id} alone" in refused
        assert "completed" in ended
        assert life["waking"] == f"starts claude-code, profile {profile}, for this task alone"
        offered = {tool["name"] for tool in last[task_id]["tools"]}
        assert ("Bash" in offered) is (profile == "work")
    assert CANARY not in json.dumps(model.shown)
    assert {"claimed", "woken"}.isdisjoint(left)
