# SPDX-License-Identifier: Apache-2.0
"""What the plugin of Claude Code cannot hold and an entry does: it is named, and not dropped."""

import json

import pytest
from local_server import settings_at
from mcp_agentbus.installers import claude_code
from mcp_agentbus.installers.steps import Machine

SHARED = {"AGENTBUS_URL": "tls://bus.example.org:4222", "AGENTBUS_CA_FILE": "/ca.pem"}


@pytest.mark.parametrize("shared", [SHARED, {}])
def test_variables_for_which_the_plugin_has_no_place_are_named_as_it_is_put_in(tmp_path, shared):
    settings = settings_at(tmp_path / "bus", HOME=str(tmp_path), **shared)
    step = claude_code._write_note(Machine(settings))

    named = "no place for AGENTBUS_URL, AGENTBUS_CA_FILE: write" in step.what
    assert named == bool(shared)
    assert ("[server] of config.toml" in step.what) == named
    assert step.do() == ""


def test_what_an_entry_said_is_named_as_it_goes_and_no_value(tmp_path, monkeypatch):
    env = {"AGENTBUS_HOME": "/bus", **SHARED, "MINE": "zq9secret"}
    server = {"command": "/bin/agentbus", "args": ["serve", "--agent", "coder"], "env": env}
    (tmp_path / ".claude.json").write_text(json.dumps({"mcpServers": {"agentbus": server}}))
    monkeypatch.setattr(Machine, "run", lambda *_, **__: "")
    machine = Machine(settings_at(tmp_path / "bus", HOME=str(tmp_path)))

    said = claude_code._remove_entry(machine, "/bin/claude").do()

    assert said == "it said --agent coder AGENTBUS_URL AGENTBUS_CA_FILE MINE"
