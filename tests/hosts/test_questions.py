# SPDX-License-Identifier: Apache-2.0
"""What the real Claude Code asks a person before it calls a tool, read off its screen."""

import asyncio
import json
import os
import pty
import subprocess
import sys

import pytest
from claude_user import QUESTION, allow, at_model, begun, install, terminal
from listeners import listening
from local_server import server_folder
from mcp_agentbus.installers import claude_code
from mcp_agentbus.installers._parts import allowed
from standin import Standin

from mcp_agentbus.tools.catalog import TOOLS

pytestmark = pytest.mark.node

SENDS = ("send_task", {"to": "shop-claude", "subject": "hello", "body": "there"})
NEVER_AGAIN = "Yes, and don't ask again for {server} — {title} commands in /…"
# Claude Code offers that where the line fits beside its frame, and else no more than a single yes.
FRAME_COLUMNS = 14
PLUGIN_COLUMNS, ENTRY_COLUMNS = 96, 80


@pytest.mark.parametrize("tool", TOOLS.values(), ids=list(TOOLS))
@pytest.mark.parametrize(
    ("server", "columns"),
    [("plugin:agentbus:agentbus", PLUGIN_COLUMNS), ("agentbus", ENTRY_COLUMNS)],
)
def test_a_title_leaves_room_for_the_whole_question(tool, server, columns):
    offered = NEVER_AGAIN.format(server=server, title=tool.title)

    assert len(offered) + FRAME_COLUMNS <= columns


async def test_what_was_allowed_runs_unasked_and_of_the_rest_a_person_can_say_never_again(
    user_with_bus, tmp_path
):
    machine, _ = user_with_bus
    folder = tmp_path / "shop"
    folder.mkdir()
    allow(machine, allowed.USUAL)
    argv = [machine.program("claude"), "--permission-mode", "manual"]
    with (
        server_folder(tmp_path / "bus"),
        Standin([("list_agents", {}), SENDS], patient=True) as model,
    ):
        async with listening(machine.settings) as listener:
            assert claude_code.verify(machine).endswith(
                "send_task asks you first, the others do not"
            )
            environ = dict(at_model(machine, model).environ)
            with terminal(argv, folder, environ, PLUGIN_COLUMNS) as screen:
                for _ in range(2):  # its server and its monitor
                    await listener.logged("joined", agent="shop-claude")
                await asyncio.to_thread(begun, screen, model)
                offered = NEVER_AGAIN.format(server="plugin:agentbus:agentbus", title="Send a task")
                await asyncio.to_thread(screen.shows, QUESTION, offered)
            await listener.end()

    [listed] = answers(model)
    assert "shop-claude" in listed


async def test_without_the_plugin_a_person_can_say_never_again_in_80_columns(machine, tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    install(machine, fallback=True)
    argv = [machine.program("claude"), "--permission-mode", "manual"]
    with server_folder(tmp_path / "bus"), Standin([SENDS], patient=True) as model:
        async with listening(machine.settings) as listener:
            environ = dict(at_model(machine, model).environ)
            with terminal(argv, folder, environ, ENTRY_COLUMNS) as screen:
                await listener.logged("joined", agent="shop-claude")
                await asyncio.to_thread(begun, screen, model)
                offered = NEVER_AGAIN.format(server="agentbus", title="Send a task")
                await asyncio.to_thread(screen.shows, QUESTION, offered)
            await listener.end()


def test_an_install_asks_once_which_tools_run_unasked(machine):
    allowed_file = machine.home / ".claude/plugins/data/agentbus-agentbus/allowed"

    planned = typed(machine, "--dry-run")
    asked = typed(machine, keys=b"readinbox\nlist_agents, read_inbox\n")
    again = typed(machine)
    chosen = allowed_file.read_text()
    changed = typed(machine, "--allow-tools", "none")

    assert "would ask which tools may run without asking" in planned
    assert "Which may it call without asking?" in asked
    assert "No tool of agentbus: readinbox. The tools are send_task, read_inbox" in asked
    assert "Which may it call" not in again
    assert chosen == "read_inbox\nlist_agents\n"
    assert again.endswith("send_task, watch_inbox, publish_result ask you first, the others do not")
    assert changed.endswith("each of its tools asks you first")


def typed(machine, *options, keys=b""):
    """Type `agentbus install claude-code` in a terminal; return what it printed on standard output."""
    ours, theirs = pty.openpty()
    os.write(ours, keys)
    ran = subprocess.run(
        [sys.executable, "-m", "mcp_agentbus", "install", "claude-code", *options],
        env=dict(machine.environ), stdin=theirs, capture_output=True, text=True, check=True,
        timeout=120,
    )  # fmt: skip
    os.close(theirs)
    os.close(ours)
    return ran.stdout.strip()


def answers(model):
    """Return what the tools answered so far, as the model was shown it last."""
    blocks = [
        block
        for message in model.shown[-1]["messages"]
        for block in message["content"]
        if isinstance(block, dict) and block["type"] == "tool_result"
    ]
    assert not [block for block in blocks if block.get("is_error")]
    return [json.dumps(block["content"]) for block in blocks]
