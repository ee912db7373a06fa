# SPDX-License-Identifier: Apache-2.0
"""Which tools run without asking: what a user may choose, and what the plugin's hook lets pass."""

import fcntl
import json
import os
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from mcp_agentbus.installers._parts import allowed
from mcp_agentbus.installers._parts.probe import TOOLS

from mcp_agentbus.errors import BadInput

HOOK = Path(__file__).parents[3] / "hooks" / "agentbus_allowed.py"
PREFIX = "mcp__plugin_agentbus_agentbus__"
OURS = {"name": "plugin:agentbus:agentbus", "source": "plugin"}
LETS_PASS = {
    "hookSpecificOutput": {
        "hookEventName": "PreToolUse",
        "permissionDecision": "allow",
        "permissionDecisionReason": "allowed by `agentbus install claude-code`",
    }
}


@pytest.mark.parametrize(
    ("words", "tools"),
    [
        ("all", TOOLS),
        ("none", ()),
        ("list_agents", ("list_agents",)),
        (" publish_result,read_inbox, ", ("read_inbox", "publish_result")),
    ],
)
def test_a_choice_is_all_none_or_names_with_commas(words, tools):
    assert allowed.chosen(words) == tools


@pytest.mark.parametrize("words", ["", ",", "all,none", "read", "READ_INBOX", "all, read_inbox"])
def test_what_is_no_choice_is_refused_with_what_is(words):
    with pytest.raises(BadInput) as refused:
        allowed.chosen(words)

    assert "send_task, read_inbox" in refused.value.message
    assert "all, or none" in refused.value.hint


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        (TOOLS, "none of its tools asks you first"),
        ((), "each of its tools asks you first"),
        (allowed.USUAL, "send_task asks you first, the others do not"),
        (TOOLS[2:], "send_task, read_inbox ask you first, the others do not"),
    ],
)
def test_a_choice_is_told_by_what_is_asked(tools, words):
    assert allowed.told(tools) == words


def test_a_choice_is_kept_in_a_file_and_nothing_is_a_choice_too(tmp_path):
    file = tmp_path / "data" / "allowed"

    assert allowed.read(file) is None
    for tools in (("list_agents",), ()):
        step = allowed.write(file, tools)
        assert (step.do(), step.do()) == ("", "it is there already")
        assert allowed.read(file) == tools


def answer(folder, **given):
    """Run the hook as Claude Code does; return what it printed."""
    ran = subprocess.run(
        [sys.executable, "-I", "-S", HOOK],
        env={"CLAUDE_PLUGIN_DATA": str(folder)},
        input=json.dumps({"tool_name": f"{PREFIX}list_agents", "mcp_server": OURS, **given}),
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert ran.stderr == ""
    return json.loads(ran.stdout) if ran.stdout else None


def test_the_hook_lets_pass_what_was_allowed_and_is_silent_about_the_rest(tmp_path):
    assert answer(tmp_path) is None

    allowed.write(tmp_path / "allowed", ["list_agents"]).do()
    assert answer(tmp_path) == LETS_PASS
    assert answer(tmp_path, tool_name=f"{PREFIX}send_task") is None


def test_the_hook_reads_all_of_a_pipe_that_waits_for_nobody(tmp_path):
    allowed.write(tmp_path / "allowed", ["list_agents"]).do()
    given = json.dumps({"tool_name": f"{PREFIX}list_agents", "mcp_server": OURS}).encode()
    out, into = os.pipe()
    os.set_blocking(out, False)
    os.write(into, given[:20])
    with subprocess.Popen(
        [sys.executable, "-I", "-S", HOOK],
        env={"CLAUDE_PLUGIN_DATA": str(tmp_path)}, stdin=out, stdout=subprocess.PIPE,
    ) as hook:  # fmt: skip
        while any(fcntl.ioctl(out, termios.FIONREAD, bytes(4))) and hook.poll() is None:
            pass
        os.write(into, given[20:])
        os.close(into)
        said = hook.communicate(timeout=60)[0]
    os.close(out)

    assert json.loads(said) == LETS_PASS


@pytest.mark.parametrize(
    "given",
    [
        # A project's server whose name gives the same tools.
        {"mcp_server": {"name": "plugin_agentbus_agentbus", "source": "project"}},
        {"mcp_server": {"name": "plugin:agentbus:agentbus", "source": "project"}},
        {"mcp_server": None},
        {"tool_name": "mcp__other__list_agents"},
        {"tool_name": "list_agents"},
        {"tool_name": PREFIX},
        {"tool_name": 3},
    ],
)
def test_the_hook_lets_nothing_of_anybody_else_pass(tmp_path, given):
    allowed.write(tmp_path / "allowed", TOOLS).do()

    assert answer(tmp_path, **given) is None
