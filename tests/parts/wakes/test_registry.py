# SPDX-License-Identifier: Apache-2.0
"""What is started for an agent, by its host: its environment, where the host's own file has a say."""

import json

import pytest
from local_server import script
from mcp_agentbus.installers.steps import Machine

from mcp_agentbus.config.rules import Rules
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.wakes.hosts import registry


def test_the_users_settings_choose_by_which_way_the_host_logs_in(tmp_path):
    rules = Rules("coder", "claude-code", tmp_path, "answer")
    around = {"AWS_PROFILE": "mine", "AZURE_TENANT_ID": "t", "HOME": str(tmp_path)}
    before = registry.environ(rules, around)
    (tmp_path / ".claude").mkdir()
    given = {"env": {"CLAUDE_CODE_USE_BEDROCK": "1"}}
    (tmp_path / ".claude" / "settings.json").write_text(json.dumps(given))

    assert before == {
        "HOME": str(tmp_path), "AGENTBUS_AGENT": "coder", "AGENTBUS_HOST": "claude-code",
    }  # fmt: skip
    assert registry.environ(rules, around) == {**before, "AWS_PROFILE": "mine"}


def test_a_host_whose_file_has_no_say_has_what_its_profile_gives(tmp_path):
    rules = Rules("coder", "command", tmp_path, "work", command=("x",), env=("CLAUDECODE",))

    theirs = {"AGENTBUS_AGENT": "other", "AGENTBUS_HOST": "claude-code"}
    assert registry.environ(rules, {"A": "1", "CLAUDECODE": "1", **theirs}) == {
        "A": "1", "CLAUDECODE": "1", "AGENTBUS_AGENT": "coder", "AGENTBUS_HOST": "command",
    }  # fmt: skip


def test_a_program_of_its_own_folder_starts_no_answer_and_that_is_said(tmp_path):
    (tmp_path / "bin").mkdir()
    script(tmp_path / "bin" / "claude", "exit 0")
    around = {"PATH": f"{tmp_path / 'bin'}:/nowhere"}
    answers, works = (Rules("coder", "claude-code", tmp_path, each) for each in ("answer", "work"))

    assert registry.missing_program(works, around) == ()
    assert registry.missing_program(answers, around) == ("claude",)
    assert registry.not_there(("claude",), rules=answers) == (
        f"claude is not on PATH outside of its folder {tmp_path}, whose programs are not run"
    )
    assert registry.not_there(("claude",), rules=works) == "claude is not on PATH"


@pytest.mark.parametrize("relative", ["", ".", "bin"])
def test_a_program_that_a_project_has_where_path_leads_from_there_is_no_host(
    relative, tmp_path, monkeypatch
):
    (tmp_path / "bin").mkdir()
    for folder in (tmp_path, tmp_path / "bin"):
        script(folder / "claude", "exit 0")
    monkeypatch.chdir(tmp_path)
    around = {"PATH": f"{relative}:/nowhere", "HOME": str(tmp_path)}
    rules = Rules("coder", "claude-code", tmp_path / "other", "work")

    assert registry.missing_program(rules, around) == ("claude",)
    assert Machine(load_settings(around)).program("claude") is None
