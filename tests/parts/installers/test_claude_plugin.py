# SPDX-License-Identifier: Apache-2.0
"""What goes with Claude Code's plugin, or comes with it: of ours it is named, others' stays."""

import contextlib
import json
import shlex
import sys

import pytest
from local_server import script, settings_at
from mcp_agentbus.installers import assets, claude_code
from mcp_agentbus.installers._parts.claude import policy
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

    def knows(marketplace, *installed, enabled=True, rows=()):
        place = {"name": "agentbus", "source": "directory", "path": str(marketplace)}
        rows = [{"id": "agentbus@agentbus", **row} for row in rows]
        rows += [{"id": name, "scope": "user", "enabled": enabled} for name in installed]
        script(
            tmp_path / "claude",
            f'echo "$*" >> {tmp_path}/asked',
            'case "$*" in',
            '*--help*) echo "  plugin  of plugins" ;;',
            f"*marketplace*list*) echo {shlex.quote(json.dumps([place] if marketplace else []))} ;;",
            f"*plugin*list*) echo {shlex.quote(json.dumps(rows))} ;;",
            '*mcp*get*) echo "  Status: Connected" ;;',
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

    assert "claude plugin marketplace remove agentbus" in told
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


OFF, ON = {"disableAllHooks": True}, {"disableAllHooks": False}
ONLY = {"allowManagedHooksOnly": True}
OURS = {**ONLY, "enabledPlugins": {"agentbus@agentbus": True}}


@pytest.mark.parametrize(
    ("said", "named"),
    [
        (({}, {}, OFF), "disableAllHooks in .*/.claude/settings.json"),
        (({}, OFF, ON), "disableAllHooks in .*shop/.claude/settings.json"),
        ((OFF, ON, ON), "disableAllHooks in .*managed-settings.json"),
        ((ONLY, {}, {}), "allowManagedHooksOnly in .*managed-settings.json"),
        ((OURS, {}, {}), None),
        (({}, ON, OFF), None),
        (({}, {}, []), None),
    ],
)
def test_hooks_that_settings_switch_off_are_said_to_be_so(
    claude, tmp_path, monkeypatch, said, named
):
    """By an organization's settings, a project's, or its user's: the first that says it decides."""
    names = ("etc/managed-settings.json", "shop/.claude/settings.json", ".claude/settings.json")
    machine = claude(assets.plugin_folder(), "agentbus@agentbus")
    for name, document in zip(names, said, strict=True):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(document))
    monkeypatch.setattr(policy, "MANAGED", {sys.platform: tmp_path / "etc"})
    monkeypatch.chdir(tmp_path / "shop")

    with pytest.raises(SwitchedOff, match=named) if named else contextlib.nullcontext():
        assert "is connected" in claude_code.verify(machine)


def test_in_a_folder_that_is_gone_the_users_settings_are_read_all_the_same(
    claude, tmp_path, monkeypatch
):
    machine = claude(assets.plugin_folder(), "agentbus@agentbus")
    (tmp_path / ".claude").mkdir(exist_ok=True)
    (tmp_path / ".claude" / "settings.json").write_text(json.dumps(OFF))
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.setattr(policy, "MANAGED", {})
    monkeypatch.chdir(gone)
    gone.rmdir()

    with pytest.raises(SwitchedOff, match=r"/.claude/settings.json"):
        claude_code.verify(machine)


def test_a_marketplace_goes_again_whose_plugin_an_organization_does_not_let_in(claude, tmp_path):
    machine = claude(None)
    fails = "*plugin*install*) echo 'blocked by your organization policy' >&2; exit 1 ;;"
    program = tmp_path / "claude"
    program.write_text(program.read_text().replace("*mcp*get*)", f"{fails}\n*mcp*get*)"))

    with pytest.raises(BadSetup, match=r"blocked by .* --no-plugin"):
        [step.do() for step in claude_code.install(machine)]

    assert (tmp_path / "calls").read_text().splitlines()[1:] == [
        "plugin marketplace remove agentbus"
    ]


def test_projects_whose_settings_name_the_plugin_are_named_as_its_marketplace_goes(claude):
    rows = [{"scope": scope, "projectPath": f"/{scope}"} for scope in ("project", "local")]
    machine = claude(assets.plugin_folder(), "agentbus@agentbus", rows=rows)

    said = [step.do() for step in claude_code.uninstall(machine)]

    files = "/project/.claude/settings.json, /local/.claude/settings.local.json"
    assert f"take agentbus@agentbus out of {files} by hand" in said


def test_what_claude_code_lists_is_asked_for_again_only_once_its_files_have_changed(
    claude, tmp_path
):
    folder = assets.plugin_folder()
    machine = claude(folder, "agentbus@agentbus")
    kept = tmp_path / ".claude/plugins/installed_plugins.json"

    def lists():
        [step.do() for step in claude_code.install(machine, plugin_folder=lambda: folder)]
        asked = (tmp_path / "asked").read_text().splitlines()
        (tmp_path / "asked").write_text("")
        return [words for words in asked if "list" in words]

    both = ["plugin list --json", "plugin marketplace list --json"]
    assert [lists(), lists()] == [both, []]
    kept.write_text("{}")
    assert lists() == both
    kept.unlink()
    kept.mkdir()  # nothing is known of what cannot be read
    assert lists().count(both[0]) == 3


@pytest.mark.parametrize("installed", [(), ("agentbus@agentbus",)])
def test_a_plugin_that_outlived_its_marketplace_is_not_installed_anew(claude, tmp_path, installed):
    folder = assets.plugin_folder()
    machine = claude(None, *installed)

    said = [step.do() for step in claude_code.install(machine, plugin_folder=lambda: folder)]

    calls = (tmp_path / "calls").read_text()
    assert f"plugin marketplace add {folder}" in calls
    assert ("plugin install" in calls) is not bool(installed)
    assert said[1] == ("it is there already" if installed else "")
