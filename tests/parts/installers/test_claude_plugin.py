# SPDX-License-Identifier: Apache-2.0
"""What goes with Claude Code's plugin, or comes with it: of ours it is named, others' stays."""

import json
import shlex

import pytest
from local_server import script, settings_at
from mcp_agentbus.installers import assets, claude_code
from mcp_agentbus.installers.steps import Machine, SwitchedOff

from mcp_agentbus.errors import BadSetup

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


@pytest.fixture
def claude(tmp_path):
    """Give the machine of a user whose Claude Code has a marketplace of our name, and plugins."""

    def knows(marketplace, *installed, enabled=True):
        place = {"name": "agentbus", "source": "directory", "path": str(marketplace)}
        rows = [{"id": name, "scope": "user", "enabled": enabled} for name in installed]
        script(
            tmp_path / "claude",
            'case "$*" in',
            '*--help*) echo "  plugin  of plugins" ;;',
            f"*marketplace*list*) echo {shlex.quote(json.dumps([place] if marketplace else []))} ;;",
            f"*plugin*list*) echo {shlex.quote(json.dumps(rows))} ;;",
            f'*) echo "$*" >> {tmp_path}/calls; [ ! -e {tmp_path}/managed ] ;;',
            "esac",
        )
        (tmp_path / ".claude/plugins/cache/agentbus").mkdir(parents=True, exist_ok=True)
        return Machine(settings_at(tmp_path / "bus", HOME=str(tmp_path), PATH=f"{tmp_path}:/bin"))

    return knows


@pytest.fixture
def theirs(tmp_path):
    """A marketplace of our name which is another project's."""
    (tmp_path / "theirs/.claude-plugin").mkdir(parents=True)
    (tmp_path / "theirs/.claude-plugin/marketplace.json").write_text("{}")
    return tmp_path / "theirs"


def words(steps):
    return [step.what.removeprefix("run ").strip("`") for step in steps]


@pytest.mark.parametrize("installed", [(), ("other@agentbus",), ("agentbus@agentbus",)])
def test_another_projects_marketplace_of_our_name_stays_with_its_plugins(claude, theirs, installed):
    assert claude_code.uninstall(claude(theirs, *installed)) == []


def test_a_plugin_of_another_project_is_not_cut_off_by_an_install(claude, theirs):
    machine = claude(theirs, "other@agentbus")

    with pytest.raises(BadSetup, match=r"with other@agentbus; .*--no-plugin"):
        claude_code.install(machine)
    assert len(words(claude_code.install(machine, fallback=True))) == 1


@pytest.mark.parametrize(("folder", "noted"), [("ours", False), ("gone", False), ("gone", True)])
def test_our_own_marketplace_goes_also_if_its_folder_is_gone(claude, tmp_path, folder, noted):
    machine = claude(
        assets.plugin_folder() if folder == "ours" else tmp_path / "gone",
        *([] if noted else ["agentbus@agentbus"]),
    )
    if noted:
        claude_code._write_note(machine).do()

    told = words(claude_code.uninstall(machine))

    assert "claude plugin marketplace remove agentbus --scope user" in told
    assert f"remove {tmp_path}/.claude/plugins/cache/agentbus" in told
    assert ("claude plugin uninstall agentbus@agentbus --scope user" in told) is not noted


def test_where_another_plugin_came_from_ours_only_what_is_ours_goes(claude, tmp_path):
    told = words(
        claude_code.uninstall(claude(assets.plugin_folder(), "agentbus@agentbus", "other@agentbus"))
    )

    assert told[0] == "claude plugin uninstall agentbus@agentbus --scope user"
    assert told[1] == f"remove {tmp_path}/.claude/plugins/cache/agentbus/agentbus"


def test_a_plugin_stays_where_the_entry_in_its_place_is_not_taken(claude, tmp_path):
    """As where an organization says which servers there may be."""
    machine = claude(assets.plugin_folder(), "agentbus@agentbus")
    (tmp_path / "managed").touch()

    with pytest.raises(BadSetup, match="add-json"):
        [step.do() for step in claude_code.install(machine, fallback=True)]

    [only] = (tmp_path / "calls").read_text().splitlines()
    assert only.startswith("mcp add-json")


def test_a_plugin_that_its_user_has_disabled_is_said_to_be_so(claude):
    with pytest.raises(SwitchedOff, match="claude plugin enable agentbus@agentbus"):
        claude_code.verify(claude(assets.plugin_folder(), "agentbus@agentbus", enabled=False))
    with pytest.raises(BadSetup, match="has no agentbus"):
        claude_code.verify(claude(assets.plugin_folder(), enabled=False))
