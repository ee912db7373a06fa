# SPDX-License-Identifier: Apache-2.0
"""Cursor's entry as its user has changed it: who the hooks speak for, what is shown and tried."""

from __future__ import annotations

import base64
import json
import os
import shlex
import subprocess
from urllib.parse import parse_qs, urlsplit

import pytest
from local_server import settings_at
from mcp_agentbus.installers import cursor
from mcp_agentbus.installers.steps import Machine
from trap import Trap

from mcp_agentbus.errors import BadSetup


@pytest.fixture
def machine(tmp_path):
    (tmp_path / "me").mkdir()
    return Machine(settings_at(tmp_path / "my bus", HOME=str(tmp_path / "me")))


def run(steps):
    return [step.do() for step in steps]


def tree(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read(machine, name):
    return json.loads((machine.home / ".cursor" / name).read_text())


@pytest.mark.parametrize("given", ["reviewer", None])
def test_the_hooks_speak_for_the_agent_of_the_entry(machine, given):
    run(cursor.install(machine, agent="earlier"))
    run(cursor.install(machine, agent=given))

    who = f"AGENTBUS_AGENT={given or 'earlier'}"
    for event in cursor.EVENTS:
        [hook] = read(machine, "hooks.json")["hooks"][event]
        assert shlex.split(hook["command"])[2] == who
    assert "answers with 5 tools" in cursor.verify(machine)
    run(cursor.uninstall(machine))
    assert tree(machine.home) == {}


def test_what_cursor_fills_in_is_no_agent_of_a_hook(machine):
    run(cursor.install(machine, agent="${workspaceFolderBasename}"))

    assert "AGENTBUS_AGENT" not in (machine.home / ".cursor" / "hooks.json").read_text()


def test_the_link_shows_nothing_that_the_user_has_added(machine):
    run(cursor.install(machine, agent="reviewer"))
    change_entry(machine, {"MY_TOKEN": "secret"}, headers={"X": "secret"})

    link = urlsplit(run(cursor.install(machine))[-1])

    entry = json.loads(base64.b64decode(parse_qs(link.query)["config"][0]))
    assert "secret" not in str(entry)
    assert entry["args"][-2:] == ["--agent", "reviewer"]
    assert read(machine, "mcp.json")["mcpServers"]["agentbus"]["env"]["MY_TOKEN"] == "secret"


@pytest.mark.parametrize(
    ("env", "args"),
    [
        ({"DEBUG": 1, "MORE": True, "LESS": None}, []),
        ({"AGENTBUS_AGENT": "${workspaceFolderBasename}"}, []),
        ({}, ["--agent", "${workspaceFolderBasename}"]),
    ],
)
def test_an_entry_is_tried_as_far_as_it_is_known_without_cursor(machine, env, args):
    run(cursor.install(machine))
    change_entry(machine, env, args)
    run(cursor.install(machine))

    assert "answers with 5 tools" in cursor.verify(machine)


def change_entry(machine, env, args=(), **more):
    """Add to our entry as a user would."""
    file = machine.home / ".cursor" / "mcp.json"
    document = json.loads(file.read_text())
    entry = document["mcpServers"]["agentbus"]
    entry.update(env={**entry["env"], **env}, args=[*entry["args"], *args], **more)
    file.write_text(json.dumps(document))


def test_what_cursor_starts_takes_nothing_that_a_project_has_exported(machine, tmp_path):
    run(cursor.install(machine))
    project = Trap(tmp_path / "project")
    entry = read(machine, "mcp.json")["mcpServers"]["agentbus"]
    [hook] = read(machine, "hooks.json")["hooks"]["stop"]
    environ = {"PYTHONPATH": str(project.folder)}

    for words in ([entry["command"], *entry["args"][:-1]], shlex.split(hook["command"])[:-3]):
        subprocess.run([*words, "--version"], env=environ, cwd=project.folder, check=True)

    assert project.sprung() == []


def test_what_is_made_is_open_to_nobody_else_whatever_the_umask(machine):
    umask = os.umask(0)
    try:
        run(cursor.install(machine))
    finally:
        os.umask(umask)

    made = list(machine.home.rglob("*"))
    assert {path.name for path in made} >= {".cursor", "references", "mcp.json"}
    assert [path for path in made if path.stat().st_mode & 0o022] == []


@pytest.mark.parametrize("comment", ["// my servers\n{0}", "/* {{ */ {0}", "\ufeff{0}"])
def test_what_a_user_has_added_stays_beside_a_comment_too(machine, comment):
    run(cursor.install(machine))
    change_entry(machine, {"MY_VAR": "1"}, ["--agent", "reviewer"])
    for name in ("mcp.json", "hooks.json"):
        file = machine.home / ".cursor" / name
        file.write_text(comment.format(file.read_text()), encoding="utf-8")

    assert run(cursor.install(machine))[0] == "it is there already"
    assert "AGENTBUS_AGENT=reviewer" in (machine.home / ".cursor" / "hooks.json").read_text()
    assert "answers with 5 tools" in cursor.verify(machine)


@pytest.mark.parametrize("name", ["mcp.json", "hooks.json"])
def test_a_program_that_is_gone_is_named_beside_a_comment_too(machine, name):
    run(cursor.install(machine))
    file = machine.home / ".cursor" / name
    text = file.read_text().replace(machine.agentbus[0], "/gone/agentbus")
    file.write_text(f"// mine\n{text}")

    assert cursor.gone(machine) == "/gone/agentbus"


@pytest.mark.parametrize("name", ["mcp.json", "hooks.json"])
def test_what_an_earlier_agentbus_has_written_is_not_said_to_be_missing(machine, name):
    run(cursor.install(machine))
    file = machine.home / ".cursor" / name
    file.write_text(file.read_text().replace(machine.agentbus[0], machine.program_file))

    with pytest.raises(BadSetup, match=rf"{name} has .* of an earlier agentbus.*install cursor"):
        cursor.verify(machine)


def test_an_entry_of_another_project_is_not_mixed_with_ours(machine):
    file = machine.home / ".cursor" / "mcp.json"
    file.parent.mkdir()
    entry = {"command": "/bin/other", "args": ["serve"], "env": {"TOKEN": "secret"}}
    file.write_text(json.dumps({"mcpServers": {"agentbus": entry}}))
    was = tree(machine.home)

    run(cursor.install(machine))

    assert "secret" not in file.read_text()
    run(cursor.uninstall(machine))
    assert tree(machine.home) == was
