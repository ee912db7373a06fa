# SPDX-License-Identifier: Apache-2.0
"""The real Claude Code, connected and disconnected by its installer, in a home nobody has used."""

import json
import os
import shutil
import subprocess
from dataclasses import replace

import node_tools
import pytest
from claude_user import ROOT, TOOLS, at_model, install, plugin, terminal
from listeners import listening
from mcp_agentbus.installers import claude_code
from mcp_agentbus.installers.steps import Machine
from standin import Standin

from mcp_agentbus.bus import embedded
from mcp_agentbus.doctor import hosts
from mcp_agentbus.errors import BadInput, BadSetup

pytestmark = pytest.mark.node

RUN_WITHIN_S = 120
# What Claude Code keeps for itself: what it logged, what it was before, and who asked it.
ITS_OWN = (".cache", ".claude/backups", ".claude/telemetry", ".claude/mcp-needs-auth-cache.json")


def test_claude_code_finds_no_fault_in_the_plugin(machine):
    how = ("plugin", "validate", "--strict", "--profile", "directory")
    ended = run(machine, *how, str(ROOT), check=False)

    assert ended.returncode == 0, ended.stdout
    assert "bin: agentbus" in ended.stdout


def test_the_plugin_connects_and_the_same_again_changes_no_byte(connected):
    machine, tree = connected
    first = files(machine)
    again = install(machine, tree)

    assert files(machine) == first
    assert set(again) == {"it is there already"}
    assert "plugin:agentbus:agentbus" in claude_code.verify(machine)
    assert json.loads(first[".claude/settings.json"])["enabledPlugins"] == {
        "agentbus@agentbus": True
    }
    assert run(machine, "mcp", "list").stdout.count("Connected") == 1
    assert claude_code.found(machine).startswith(
        f"Claude Code {node_tools.CLAUDE_CODE_VERSION}, {machine.program('claude')}"
    )


def test_an_older_plugin_in_another_folder_is_upgraded_in_place(machine, tree, tmp_path):
    older = plugin(tmp_path / "older", version="0.0.9")
    install(machine, older)

    install(machine, tree)

    assert listed(machine, "plugin", "marketplace")[0]["path"] == str(tree)
    [ours] = listed(machine, "plugin")
    assert ours["readFromFolder"] == str(tree)
    assert (
        ours["version"]
        == json.loads((tree / ".claude-plugin" / "plugin.json").read_text())["version"]
    )
    shutil.rmtree(older)
    claude_code.verify(machine)


def test_a_plugin_that_was_switched_off_is_switched_on_by_an_install(connected):
    machine, tree = connected
    run(machine, "plugin", "disable", "agentbus@agentbus")

    install(machine, tree)

    assert [one["enabled"] for one in listed(machine, "plugin")] == [True]


def test_a_server_entry_from_before_gives_way_to_the_plugin(machine, tree):
    run(machine, "mcp", "add", "-s", "user", "agentbus", "--", "/old/bin/agentbus", "serve",
        "--agent", "reviewer")  # fmt: skip

    told = install(machine, tree)

    assert "agentbus" not in config(machine)["mcpServers"]
    assert "--agent reviewer" in told[-1]
    assert run(machine, "mcp", "list").stdout.count("agentbus") == 3  # plugin:agentbus:agentbus


def test_what_the_user_has_stays_and_nothing_of_ours(machine, tree, tmp_path):
    settings = machine.home / ".claude" / "settings.json"
    settings.parent.mkdir()
    settings.write_text('{"permissions": {"allow": ["Bash(ls:*)"]}, "model": "opus"}')
    run(machine, "plugin", "marketplace", "add", str(own_plugin(tmp_path / "own")))
    run(machine, "plugin", "install", "mine@own")
    run(machine, "mcp", "add", "-s", "user", "other", "--", "/bin/cat", "a")
    before = files(machine)

    install(machine, tree)
    uninstall(machine)
    after = files(machine)

    # Claude Code itself writes this file anew, with its keys in another order.
    assert json.loads(after.pop(".claude/settings.json")) == json.loads(
        before.pop(".claude/settings.json")
    )
    assert after == before
    assert not [name for name, content in after.items() if b"agentbus" in content.lower()]
    assert uninstall(machine) == []


def test_a_first_install_that_is_taken_back_leaves_empty_lists_only(connected):
    machine, _ = connected
    uninstall(machine)
    left = files(machine)

    left.pop(".claude.json")  # written at any start
    assert {name: json.loads(content) for name, content in left.items()} == {
        ".claude/plugins/installed_plugins.json": {"version": 2, "plugins": {}},
        ".claude/plugins/known_marketplaces.json": {},
        ".claude/settings.json": {"enabledPlugins": {}, "extraKnownMarketplaces": {}},
    }


def test_without_the_plugin_an_entry_connects_and_its_removal_restores_every_byte(machine):
    run(machine, "mcp", "add", "-s", "user", "other", "--", "/bin/cat", "a")
    run(machine, "mcp", "get", "other")  # its first start of a server writes more
    before = files(machine)

    install(machine, fallback=True)
    first = files(machine)
    assert install(machine, fallback=True) == ["it is there already"]
    assert files(machine) == first
    assert "(agentbus)" in claude_code.verify(machine)
    assert config(machine)["mcpServers"]["agentbus"] == {
        "alwaysLoad": True,
        "command": machine.agentbus[0],
        "args": [*machine.agentbus[1:], "serve"],
        "env": {
            "AGENTBUS_HOST": "claude-code", "AGENTBUS_HOME": machine.environ["AGENTBUS_HOME"]
        },
    }  # fmt: skip
    uninstall(machine)
    assert files(machine) == before


def test_an_older_entry_is_replaced_and_keeps_what_its_user_added(machine):
    entry = {
        "command": "/old/bin/agentbus",
        "args": ["serve", "--agent", "reviewer"],
        "env": {"AGENTBUS_HOME": "/old", "AGENTBUS_URL": "nats://127.0.0.1:4222"},
        "timeout": 900000,
    }
    run(machine, "mcp", "add-json", "-s", "user", "agentbus", json.dumps(entry))

    install(machine, fallback=True)

    now = config(machine)["mcpServers"]["agentbus"]
    assert (now["command"], now["timeout"]) == (machine.agentbus[0], 900000)
    assert now["args"][-3:] == ["serve", "--agent", "reviewer"]
    assert now["env"] == {
        "AGENTBUS_HOST": "claude-code",
        "AGENTBUS_HOME": machine.environ["AGENTBUS_HOME"],
        "AGENTBUS_URL": "nats://127.0.0.1:4222",
    }


def test_an_entry_that_cannot_be_replaced_is_put_back(machine, tmp_path):
    mine = {
        "type": "stdio",
        "command": "/old/bin/agentbus",
        "args": ["serve", "--agent", "reviewer"],
        "env": {"MINE": "secret"},
    }
    run(machine, "mcp", "add-json", "-s", "user", "agentbus", json.dumps(mine))
    broken = failing(machine, tmp_path, times=1)

    with pytest.raises(BadSetup, match="the disk is full"):
        install(broken, fallback=True)

    assert config(machine)["mcpServers"]["agentbus"] == mine
    with pytest.raises(
        BadSetup, match=r"taken out and .* disk is full.*--agent reviewer MINE"
    ) as e:
        install(failing(machine, tmp_path, times=2), fallback=True)
    assert "secret" not in str(e.value)


def failing(machine, folder, times):
    """The same user, whose Claude Code adds no entry so many times."""
    place = folder / str(times)
    place.mkdir()
    (place / "claude").write_text(
        f"""#!/bin/sh
if [ "$2" = add-json ] && [ "$(ls {place} | wc -l)" -le {times} ]; then
  mktemp {place}/XXXXXX >&2; echo "the disk is full" >&2; exit 1
fi
exec {machine.program("claude")} "$@"
"""
    )
    (place / "claude").chmod(0o755)
    path = {**machine.environ, "PATH": f"{place}:{machine.environ['PATH']}"}
    return Machine(replace(machine.settings, environ=path))


def test_one_that_does_not_run_is_told_with_the_reason(machine, tmp_path):
    place = tmp_path / "claude"
    place.write_text("#!/bin/sh\necho 'claude: needs a newer system' >&2; exit 1\n")
    place.chmod(0o755)
    path = {**machine.environ, "PATH": str(tmp_path)}
    settings = replace(machine.settings, environ=path)

    assert claude_code.found(Machine(settings)) == (
        f"Claude Code, {place} (does not run: `claude --version` failed: "
        "claude: needs a newer system)"
    )
    with pytest.raises(BadSetup, match="needs a newer system"):
        install(Machine(settings), fallback=True)
    check = hosts.host(settings, "claude-code")
    assert (check.state, "needs a newer system" in check.said) == ("wrong", True)


def test_an_id_goes_into_the_entry_as_the_plugin_has_no_place_for_one(machine, tree):
    with pytest.raises(BadInput, match=r"\.agentbus\.toml.*--no-plugin --agent reviewer"):
        install(machine, tree, agent="reviewer")

    for given, agent in (("reviewer", "reviewer"), (None, "reviewer"), ("tester", "tester")):
        install(machine, fallback=True, agent=given)
        words = config(machine)["mcpServers"]["agentbus"]["args"]
        assert words == [*machine.agentbus[1:], "serve", "--agent", agent]


def test_the_entry_takes_the_place_of_the_plugin(connected):
    machine, _ = connected
    install(machine, fallback=True)

    assert listed(machine, "plugin") == []
    assert run(machine, "mcp", "list").stdout.count("Connected") == 1


def test_a_server_of_that_name_that_is_not_ours_is_left_alone(machine, tree):
    run(machine, "mcp", "add", "-s", "user", "agentbus", "--", "/bin/cat", "serve")
    before = files(machine)

    for fallback in (True, False):
        with pytest.raises(BadSetup, match="claude mcp remove agentbus -s user"):
            claude_code.install(machine, fallback=fallback, plugin_folder=lambda: tree)
    assert claude_code.uninstall(machine) == []
    assert files(machine) == before


def test_steps_that_are_only_told_change_nothing(machine, tree):
    run(machine, "plugin", "list")
    before = files(machine)

    told = [step.what for step in claude_code.install(machine, plugin_folder=lambda: tree)]

    assert files(machine) == before
    assert f"run `claude plugin marketplace add {tree}`" in told


def test_a_server_that_is_not_there_or_does_not_start_is_told(machine, connected):
    with pytest.raises(BadSetup, match="agentbus install claude-code"):
        claude_code.verify(machine)

    machine, tree = connected
    note = machine.home / ".claude/plugins/data/agentbus-agentbus/program"
    note.write_text("/gone/agentbus\n\n\n")
    with pytest.raises(
        BadSetup, match=r"-32000: agentbus: .*: /gone/agentbus is gone. .* agentbus setup"
    ):
        claude_code.verify(machine)

    (tree / "bin" / "agentbus").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(BadSetup, match=r"does not get through .*by hand"):
        claude_code.verify(machine)


def test_where_claude_code_is_not_it_is_said_how_to_get_it(machine, tmp_path):
    nowhere = Machine(replace(machine.settings, environ={**machine.environ, "PATH": str(tmp_path)}))

    assert claude_code.found(nowhere) is None
    assert claude_code.uninstall(nowhere) == []
    install(machine, fallback=True)  # which only Claude Code can take out again
    for act in (claude_code.install, claude_code.uninstall, claude_code.verify):
        with pytest.raises(BadSetup, match="npm install"):
            act(nowhere)


def test_the_model_of_a_session_is_shown_the_five_tools_and_the_skill(connected):
    machine, _ = connected
    # On a busy machine a server takes longer than Claude Code waits before it asks its model.
    patient = {"MCP_CONNECT_TIMEOUT_MS": str(RUN_WITHIN_S * 1000)}
    with Standin() as model:
        run(at_model(machine, model, **patient), "-p", "hi")

    assert {tool["name"] for tool in model.shown[0]["tools"]} >= TOOLS
    assert "agentbus:using-agentbus" in json.dumps(model.shown[0])


async def test_a_sessions_server_and_its_monitor_find_the_bus_that_was_noted(connected):
    machine, tree = connected
    shop = machine.home / "shop"
    shop.mkdir()
    (shop / ".agentbus.toml").write_text('agent = "coder"\n')
    with embedded.ephemeral() as settings, Standin() as model:
        bus = {"AGENTBUS_HOME": str(settings.data_dir.parent)}
        install(Machine(replace(machine.settings, environ={**machine.environ, **bus})), tree)
        environ = dict(at_model(machine, model).environ)
        del environ["AGENTBUS_HOME"]
        async with listening(settings) as listener:
            with terminal([machine.program("claude")], shop, environ):
                joined = [await listener.logged("joined", agent="coder") for _ in range(2)]
            await listener.end()

    assert len({one["pid"] for one in joined}) == 2
    assert {one["can_nudge"] for one in joined} == {True}


def own_plugin(folder):
    """Make a marketplace `own` of the user's, with their plugin `mine`."""
    manifests = folder / ".claude-plugin"
    manifests.mkdir(parents=True)
    mine = {"name": "mine", "description": "Mine.", "version": "1.0.0"}
    (manifests / "plugin.json").write_text(json.dumps(mine))
    own = {"name": "own", "owner": {"name": "me"}, "plugins": [{"name": "mine", "source": "./"}]}
    (manifests / "marketplace.json").write_text(json.dumps(own))
    return folder


def uninstall(machine):
    return [step.do() for step in claude_code.uninstall(machine)]


def run(machine, *args, check=True):
    """Run Claude Code as its user."""
    return subprocess.run(
        [machine.program("claude"), *args],
        env=dict(machine.environ),
        cwd=machine.home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_WITHIN_S,
        check=check,
    )


def listed(machine, *what):
    return json.loads(run(machine, *what, "list", "--json").stdout)


def config(machine):
    return json.loads((machine.home / ".claude.json").read_text())


def files(machine):
    """Return every file below the home with its bytes, but for what Claude Code keeps for itself."""
    names = {
        os.path.relpath(file, machine.home): file
        for file in machine.home.rglob("*")
        if file.is_file()
    }
    return {name: file.read_bytes() for name, file in names.items() if not name.startswith(ITS_OWN)}
