# SPDX-License-Identifier: Apache-2.0
"""What is started for an agent, by its host: its environment, where the host's own file has a say."""

import json

from mcp_agentbus.config.rules import Rules
from mcp_agentbus.wakes.hosts import registry


def test_the_users_settings_choose_by_which_way_the_host_logs_in(tmp_path):
    rules = Rules("coder", "claude-code", tmp_path, "answer")
    around = {"AWS_PROFILE": "mine", "AZURE_TENANT_ID": "t", "HOME": str(tmp_path)}
    before = registry.environ(rules, around)
    (tmp_path / ".claude").mkdir()
    given = {"env": {"CLAUDE_CODE_USE_BEDROCK": "1"}}
    (tmp_path / ".claude" / "settings.json").write_text(json.dumps(given))

    assert before == {"HOME": str(tmp_path), "AGENTBUS_AGENT": "coder"}
    assert registry.environ(rules, around) == {**before, "AWS_PROFILE": "mine"}


def test_a_host_whose_file_has_no_say_has_what_its_profile_gives(tmp_path):
    rules = Rules("coder", "command", tmp_path, "work", command=("x",), env=("CLAUDECODE",))

    assert registry.environ(rules, {"A": "1", "CLAUDECODE": "1", "AGENTBUS_AGENT": "other"}) == {
        "A": "1", "CLAUDECODE": "1", "AGENTBUS_AGENT": "coder",
    }  # fmt: skip
