# SPDX-License-Identifier: Apache-2.0
"""What came along for hosts: the plugin's files agree with each other, and its launcher's choices.

A launcher is run as it is, in a folder of its own, with programs that say what they were given.
"""

import ast
import json
import os
import shutil
import struct
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from mcp_agentbus.installers import assets
from trap import Trap

from mcp_agentbus.errors import BadSetup
from mcp_agentbus.version import __version__

ROOT = Path(__file__).parents[3]
BIN = ROOT / "bin"
ROOT_OF_PLUGIN = "${CLAUDE_PLUGIN_ROOT}/"
OURS = "#!/bin/sh\n# mcp_agentbus\n"
TELLS = 'echo "$0 $* ${AGENTBUS_HOME-none}"\n'


def test_the_plugin_lies_in_the_root_and_holds_the_skill():
    assert assets.plugin_folder() == ROOT
    assert assets.skill_folder() == ROOT / "skills" / "using-agentbus"


def test_in_a_wheel_the_plugin_lies_in_the_package(tmp_path, monkeypatch):
    package = tmp_path / "mcp_agentbus"
    shutil.copytree(ROOT / ".claude-plugin", package / "plugin" / ".claude-plugin")
    monkeypatch.setattr(assets, "__file__", str(package / "installers" / "assets.py"))

    assert assets.plugin_folder() == package / "plugin"
    with pytest.raises(BadSetup, match=r"skill is missing.* pip install"):
        assets.skill_folder()


def test_an_installation_without_the_plugin_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(
        assets, "__file__", str(tmp_path / "mcp_agentbus" / "installers" / "assets.py")
    )

    with pytest.raises(BadSetup, match=r"plugin is missing.* pip install"):
        assets.plugin_folder()


def test_the_plugin_has_the_packages_version():
    assert read(".claude-plugin/plugin.json")["version"] == __version__


def test_whatever_the_plugin_starts_is_in_it():
    hooks = read("hooks/hooks.json")["hooks"]
    words = [read(".mcp.json")["mcpServers"]["agentbus"]["command"]]
    words += [word.strip('"') for word in read("monitors/monitors.json")[0]["command"].split()]
    for [group] in hooks.values():
        words += group["hooks"][0]["args"]
    files = [word.removeprefix(ROOT_OF_PLUGIN) for word in words if word.startswith("${")]

    assert len(files) == 2 + 2 * len(hooks)  # each hook by python.sh
    assert [file for file in files if not (ROOT / file).is_file()] == []
    assert os.access(BIN / "agentbus", os.X_OK)


def test_each_hook_is_told_its_event_and_may_not_take_long():
    for event, [group] in read("hooks/hooks.json")["hooks"].items():
        [hook] = group["hooks"]

        assert hook["args"][-2:] == ["claude-code", event] or event == "PreToolUse"
        assert hook["timeout"] <= 3


def test_a_wheel_carries_every_file_of_the_plugin():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = [name for name in setuptools["packages"] if name.startswith("mcp_agentbus.plugin")]
    places = {name: ROOT.joinpath(*name.split(".")[2:]) for name in packages}
    carried = {
        file.relative_to(ROOT)
        for name, folder in places.items()
        for pattern in ("*.py", *setuptools["package-data"][name])
        for file in folder.glob(pattern)
        if file.is_file()
    }
    folders = (".claude-plugin", "bin", "hooks", "monitors", "skills")
    there = {
        file.relative_to(ROOT)
        for folder in folders
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }

    assert setuptools["package-dir"]["mcp_agentbus.plugin"] == "."
    assert "mcp_agentbus.plugin" in setuptools["packages"]
    assert carried >= there | {Path(".mcp.json"), Path("README.md")}


def test_the_icon_is_as_the_directory_of_plugins_takes_it():
    icon = (ROOT / ".claude-plugin" / "icon.png").read_bytes()
    width, height = struct.unpack(">II", icon[16:24])

    assert icon.startswith(b"\x89PNG\r\n\x1a\n")
    assert width == height == 512
    assert len(icon) < 15_000


@pytest.mark.parametrize(
    ("script", "imports"),
    [
        ("bin/launch.py", {"os", "sys"}),
        ("hooks/agentbus_allowed.py", {"json", "os", "select"}),
    ],
)
def test_a_script_of_the_plugin_imports_nothing_that_takes_time(script, imports):
    tree = ast.parse((ROOT / script).read_text())
    names = {
        alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names
    }

    assert {node.module for node in tree.body if isinstance(node, ast.ImportFrom)} == {"__future__"}
    assert names == imports


@pytest.fixture
def tree(tmp_path):
    """A plugin's folder with the launcher, and nothing else of the machine's on PATH."""
    root = tmp_path / "tree"
    (root / ".claude-plugin").mkdir(parents=True)
    shutil.copytree(BIN, root / "bin")
    return root


def test_without_a_program_it_says_one_line(tree):
    ended = launch(tree)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.count("\n") == 1
    assert "uv tool install mcp-agentbus" in ended.stderr
    assert ended.stderr.endswith("agentbus setup\n")


def test_a_host_is_answered_what_is_missing_as_it_shows_no_more_of_a_server(tree, tmp_path):
    probe = {"jsonrpc": "2.0", "id": "probe-1", "method": "server/discover", "params": {}}
    asks = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"capabilities": {}}}
    lines = "".join(f"{json.dumps(each)}\n" for each in (probe, {"method": "x"}, asks))

    gone = launch(tree, note='/gone/"a b"/agentbus\n\n\n', words=["serve"], typed=lines)
    hide_pythons(tree)
    none = launch(tree, path=[tmp_path / "empty"], words=["serve"], typed=lines)

    for ended, why in (
        (gone, "/gone/?a b?/agentbus is gone. Install it"),
        (none, "no Python here"),
    ):
        answers = [json.loads(line) for line in ended.stdout.splitlines()]
        assert ended.returncode == 1
        assert [answer["id"] for answer in answers] == ["probe-1", 0]
        assert all(why in answer["error"]["message"] for answer in answers)
        assert "claude-code" not in ended.stdout  # it would be blacked out
        assert why in ended.stderr


def test_a_program_that_has_gone_is_named(tree):
    ended = launch(tree, note="/gone/venv/bin/agentbus\n\n/gone/venv/bin/python\n")

    assert ended.returncode == 1
    assert "its program is not: /gone/venv/bin/agentbus is gone. Install it" in ended.stderr


def test_what_was_noted_at_the_install_comes_first(tree, tmp_path):
    noted = program(tmp_path / "noted" / "agentbus")
    program(tmp_path / "path" / "agentbus")
    program(tree / ".venv" / "bin" / "agentbus")

    assert said(tree, note=f"{noted}\n/my/bus\n") == f"{noted} watch --notices /my/bus"
    assert said(tree, note=f"{noted}\n\n") == f"{noted} watch --notices none"


def test_a_bus_that_is_exported_is_not_replaced_by_the_noted_one(tree, tmp_path):
    noted = program(tmp_path / "noted" / "agentbus")
    words = said(tree, note=f"{noted}\n/my/bus\n", AGENTBUS_HOME="/other")

    assert words == f"{noted} watch --notices /other"


def test_a_noted_python_does_not_import_from_the_folder_of_a_session(tree, tmp_path):
    python = program(tmp_path / "noted" / "python3")

    words = said(tree, note=f"{python}\n\n")

    assert words == f"{python} -E -P -m mcp_agentbus watch --notices none"


def test_a_command_of_pips_takes_nothing_of_the_project_that_a_session_is_in(tree, tmp_path):
    project = Trap(tmp_path)
    code = "from mcp_agentbus.__main__ import main\nmain()\n"
    noted = program(tmp_path / "noted" / "agentbus", f"#!{sys.executable}\n{code}")

    ended = launch(tree, note=f"{noted}\n\n", words=["--version"], PYTHONPATH=str(project.folder))

    assert (ended.stdout, ended.stderr) == (f"agentbus {__version__}\n", "")
    assert project.sprung() == []


def test_the_note_is_found_by_a_monitor_too_which_is_told_of_no_folder(tree, tmp_path):
    noted = program(tmp_path / "noted" / "agentbus")
    folder = tmp_path / ".claude" / "plugins" / "data" / "agentbus-agentbus"
    folder.mkdir(parents=True)
    (folder / "program").write_text(f"{noted}\n/my/bus\n")

    assert said(tree) == f"{noted} watch --notices /my/bus"


@pytest.mark.parametrize("note", ["", "agentbus\n../bus\n", "/gone/agentbus\n\n", "/\0"])
def test_a_note_that_leads_nowhere_is_passed_by(tree, tmp_path, note):
    there = program(tmp_path / "path" / "agentbus")

    assert said(tree, note=note) == f"{there} watch --notices none"


@pytest.mark.skipif(sys.platform == "darwin", reason="its names of files are UTF-8 always")
def test_a_folder_whose_name_is_not_utf_8_is_found(tree, tmp_path):
    noted = program(tmp_path / "caf\udce9" / "agentbus", OURS + "echo found\n")

    assert said(tree, note=f"{noted}\n\n") == "found"


def test_a_program_whose_interpreter_has_gone_is_passed_by(tree, tmp_path):
    there = program(tmp_path / "path" / "agentbus")
    broken = program(tmp_path / "noted" / "agentbus", "#!/gone/python\nmcp_agentbus\n")

    assert said(tree, note=f"{broken}\n\n") == f"{there} watch --notices none"


def test_a_wheel_starts_the_installation_that_it_belongs_to(tmp_path):
    prefix = tmp_path / "venv"
    package = prefix / "lib" / "python3.13" / "site-packages" / "mcp_agentbus"
    shutil.copytree(BIN, package / "plugin" / "bin")
    own = program(prefix / "bin" / "agentbus")
    program(tmp_path / "path" / "agentbus")

    assert said(package / "plugin") == f"{own} watch --notices none"


def test_on_path_a_launcher_and_another_projects_agentbus_are_passed_by(tree, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy)
    program(tmp_path / "other" / "agentbus", f"#!/bin/sh\n# from agentbus import main\n{TELLS}")
    ours = program(tmp_path / "path" / "agentbus")
    path = [tree / "bin", copy / "bin", tmp_path / "other", tmp_path / "path"]

    assert said(tree, path=path) == f"{ours} watch --notices none"


@pytest.mark.parametrize(
    "foreign", [b"#!/bin/sh\nexec other serve\n", b"\x7fELF mcp_agentbus", b"", b"mcp_agentbus"]
)
def test_on_path_only_what_names_our_package_is_started(tree, tmp_path, foreign):
    other = program(tmp_path / "other" / "agentbus")
    other.write_bytes(foreign)

    assert launch(tree, path=[tmp_path / "other"]).returncode == 1


@pytest.mark.parametrize(
    "lines",
    [
        "from mcp_agentbus.__main__ import main\n",
        "# ''''exec' '/a b/bin/python' \"$0\"\n# ' '''\nfrom mcp_agentbus.__main__ import main\n",
        'exec /opt/pipx/venvs/mcp-agentbus/bin/agentbus "$@"\n',
    ],
)
def test_a_command_as_pip_pipx_and_uv_write_it_is_started(tree, tmp_path, lines):
    program(tmp_path / "path" / "agentbus", f"#!/bin/sh\n{TELLS}exit\n{lines}")

    assert said(tree).endswith("watch --notices none")


def test_a_relative_folder_on_path_is_passed_by(tree, tmp_path):
    program(tmp_path / "planted" / "agentbus")

    assert launch(tree, path=["planted", "", "."]).returncode == 1


def test_last_comes_the_venv_beside_it_and_no_name_is_looked_up_in_a_registry(tree, tmp_path):
    program(tmp_path / "path" / "uvx")
    program(tmp_path / "path" / "pipx")
    assert launch(tree).returncode == 1

    own = program(tree / ".venv" / "bin" / "agentbus")
    assert said(tree) == f"{own} watch --notices none"


def test_the_python_that_was_noted_runs_the_scripts(tree, tmp_path):
    noted = program(tmp_path / "noted" / "python3")

    ran = launch(tree, note=f"\n\n{noted}\n")

    assert ran.stdout.startswith(f"{noted} -I -S {tree}/bin/launch.py watch --notices")


def test_a_shim_that_has_no_python_for_this_folder_is_passed_by(tree, tmp_path):
    program(
        tmp_path / "path" / "python3", "#!/bin/sh\necho 'pyenv: python3: not found' >&2\nexit 127\n"
    )
    there = program(tmp_path / "path" / "agentbus")

    ended = launch(tree)

    assert (ended.stdout, ended.stderr) == (f"{there} watch --notices none\n", "")


def test_a_python_in_a_relative_folder_on_path_is_passed_by(tree, tmp_path):
    program(tmp_path / "planted" / "python3", "#!/bin/sh\necho planted\n")
    program(tmp_path / "python3", "#!/bin/sh\necho planted\n")
    there = program(tmp_path / "path" / "agentbus")

    assert said(tree, path=["planted", "", tmp_path / "path"]) == f"{there} watch --notices none"


def test_where_no_python_is_it_says_what_to_do(tree, tmp_path):
    hide_pythons(tree)

    ended = launch(tree, path=[tmp_path / "empty"])

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        "agentbus: there is no Python here. Run `agentbus setup`: it notes its own.\n"
    )


def hide_pythons(tree):
    """Have a launcher find none but on PATH."""
    script = (tree / "bin" / "python.sh").read_text()
    (tree / "bin" / "python.sh").write_text(script.replace("/usr/bin/python3", "/gone/python3"))


def read(name):
    return json.loads((ROOT / name).read_text())


def program(file, text=OURS + TELLS):
    """Write a program; return where it is."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)
    return file


def launch(tree, *, note=None, path=None, words=("watch", "--notices"), typed="", **environ):
    """Run the launcher of a plugin's folder as a host does, in a folder of the user's."""
    home = next(one for one in tree.parents if one.name.startswith("test_"))
    if note is not None:
        (home / "data").mkdir(exist_ok=True)
        (home / "data" / "program").write_bytes(os.fsencode(note))
        environ["CLAUDE_PLUGIN_DATA"] = str(home / "data")
    folders = os.pathsep.join(str(one) for one in (path or [home / "path"]))
    return subprocess.run(
        [tree / "bin" / "agentbus", *words],
        env={"PATH": folders, "HOME": str(home), **environ},
        cwd=home,
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def said(tree, **given):
    """Run the launcher; return what the program that it became has said."""
    ended = launch(tree, **given)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()
