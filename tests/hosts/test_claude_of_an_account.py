# SPDX-License-Identifier: Apache-2.0
"""The real Claude Code of one account, woken by the task of another's agent."""

import json
from contextlib import AsyncExitStack

import pytest
from claude_user import KEY
from gated import gated
from listeners import configure, listening, on_roster, send
from local_server import settings_at
from standin import ANSWERING, NOTICE, Standin

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import watch_inbox
from mcp_agentbus.handoff.session import Session

pytestmark = pytest.mark.node

WITHIN_S = 150  # only a hang takes as long


def joined(shared, account, folder, **agents):
    """Return the home of a user who has joined as that account, with these agents."""
    home = settings_at(folder / account)
    home.config_file.parent.mkdir(parents=True, exist_ok=True)
    configure(home, folder, **agents)
    server = {"url": shared.url, "nkey_file": str(shared.folder / f"{account}.nk")}
    lines = [
        f"{key} = {json.dumps(value)}" for key, value in {**server, "account": account}.items()
    ]
    with home.config_file.open("a") as config:
        config.write("\n".join(["[server]", *lines, ""]))
    return home


@pytest.mark.promise(57)
@pytest.mark.asyncio(loop_scope="function")
async def test_it_reads_and_answers_a_task_of_another_account_s_agent(claude, tmp_path):
    shop = tmp_path / "shop"
    shop.mkdir()
    rules = {"host": "claude-code", "wake": "answer", "dir": str(shop), "wake_from": ["planner"]}
    (tmp_path / "bus").mkdir()
    async with gated(tmp_path / "bus", laptop=[], vps=[]) as shared, AsyncExitStack() as stack:
        model = stack.enter_context(Standin(ANSWERING))
        home = joined(shared, "vps", tmp_path, coder=rules)
        bus = await stack.enter_async_context(Bus.connect(shared.settings("laptop")))
        planner = await stack.enter_async_context(Session(bus, Agent("planner")))
        variables = {
            "PATH": f"{claude}:/usr/bin:/bin",
            "HOME": str(tmp_path / "vps"),
            "ANTHROPIC_BASE_URL": model.url,
            "ANTHROPIC_API_KEY": KEY,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        }
        listener = await stack.enter_async_context(listening(home, **variables))
        await on_roster(planner, "coder")
        receipt = await send(planner, "coder")
        result = await watch_inbox(planner, timeout_s=WITHIN_S)
        await listener.logged("read", agent="coder")

    assert [(one.task_id, one.summary) for one in result.results] == [(receipt.task_id, "done")]
    assert NOTICE in json.dumps(model.shown[0]["messages"])
