# SPDX-License-Identifier: Apache-2.0
"""The tab key: what a real shell is told, and that it can read the script."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import served
from listeners import configure, known, listening

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.store import roster

_SEPARATOR = "\013"


def offered(house, folder, line):
    """Return what the tab key offers behind a line, as bash asks for it."""
    answer = Path(folder, "answer")
    asked = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": _SEPARATOR,
        "_ARGCOMPLETE_SHELL": "bash",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    subprocess.run(
        [str(Path(sys.executable).with_name("agentbus"))],
        env=served.environ(house.data_dir.parent) | asked,
        check=True,
        capture_output=True,
        timeout=60,
    )
    return [one.strip() for one in answer.read_text().split(_SEPARATOR) if one.strip()]


def test_commands_options_and_values_are_offered(house, tmp_path):
    assert offered(house, tmp_path, "agentbus se") == ["send", "search", "server", "serve", "setup"]
    assert offered(house, tmp_path, "agentbus send --prio") == ["--priority"]
    assert offered(house, tmp_path, "agentbus send --priority ") == ["high", "normal", "low"]
    assert "wakes" in offered(house, tmp_path, "agentbus agent w")


async def test_agents_are_offered_where_a_listener_runs(house, planner, tmp_path):
    configure(house, tmp_path)
    await known(planner, "coder", "cook")
    assert offered(house, tmp_path, "agentbus send co") == []
    async with listening(house):
        assert sorted(offered(house, tmp_path, "agentbus send co")) == ["coder", "cook"]
        assert offered(house, tmp_path, "agentbus inbox --agent cod") == ["coder"]


async def test_roles_are_offered_to_send_to_and_nowhere_else(house, planner, tmp_path):
    configure(house, tmp_path)
    await known(planner, "coder")
    await roster.register(planner.bus, Agent("cook", roles=("review",)), None)
    async with listening(house):
        for line in ("send", "tell", "policy explain coder"):
            assert offered(house, tmp_path, f"agentbus {line} role:r") == ["role:review"]
        assert offered(house, tmp_path, "agentbus inbox --agent ro") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_says_where_it_belongs_and_is_read_by_its_shell(house, tmp_path, shell):
    ran = subprocess.run(
        [sys.executable, "-m", "mcp_agentbus", "completion", shell],
        env=served.environ(house.data_dir.parent), capture_output=True, text=True, check=True,
    )  # fmt: skip
    first, _, script = ran.stdout.partition("\n")
    assert first.startswith("# ")
    assert f"agentbus completion {shell}" in first
    assert "agentbus" in script

    if program := shutil.which(shell):
        file = tmp_path / "script"
        file.write_text(ran.stdout)
        checked = subprocess.run([program, "-n", str(file)], env=dict(os.environ), check=False)
        assert checked.returncode == 0
