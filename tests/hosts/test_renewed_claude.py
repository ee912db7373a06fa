# SPDX-License-Identifier: Apache-2.0
"""The real Claude Code, whose agentbus is gone: doctor names what is, and --fix renews it."""

import json
import shutil

import pytest
from claude_user import install, plugin
from mcp_agentbus.installers import claude_code
from mcp_agentbus.installers._parts import permanence

from mcp_agentbus.doctor import hosts

pytestmark = pytest.mark.node


@pytest.mark.parametrize("what", ["entry", "folder"])
def test_what_claude_code_would_start_and_is_gone_is_renewed_by_a_fix(
    machine, tmp_path, monkeypatch, what
):
    monkeypatch.setattr(permanence, "emptied", lambda: "")  # wherever these tests are run
    tree, file = plugin(tmp_path / "plugin"), machine.home / ".claude.json"
    install(machine, tree, fallback=what == "entry")
    if what == "folder":
        shutil.rmtree(gone := tree)
    else:
        gone = "/old/bin/agentbus"
        file.write_text(file.read_text().replace(machine.agentbus[0], gone))

    check = hosts.host(machine.settings, "claude-code")
    check.mend.do()

    assert (check.state, f"starts {gone}, which is gone" in check.said) == ("wrong", True)
    assert claude_code.gone(machine) == ""
    assert "agentbus" in claude_code.verify(machine)
    has_entry = "agentbus" in json.loads(file.read_text()).get("mcpServers", {})
    assert has_entry == (what == "entry")
