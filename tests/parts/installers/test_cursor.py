# SPDX-License-Identifier: Apache-2.0
"""Cursor's installer: what its files say, that the server they name answers, and what is left."""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import jsonschema
import pytest
from local_server import settings_at
from mcp_agentbus.installers import cursor
from mcp_agentbus.installers._parts import edit
from mcp_agentbus.installers._parts import folder as _folder
from mcp_agentbus.installers.steps import Machine

from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.doctor import hosts
from mcp_agentbus.errors import BadSetup

SCHEMAS = Path(__file__).with_name("schemas")
THEIR_MCP = '{"mcpServers": {"github": {"type": "stdio", "command": "gh-mcp"}}}'
THEIR_HOOKS = """{
\t"version": 1,
\t"hooks": {
\t\t"stop": [ { "command": "./audit.sh" } ],
\t\t"afterFileEdit": []
\t}
}
"""
THEIR_CLI = (
    '{"version":1,"editor":{"vimMode":false},"permissions":{"allow":["Shell(ls)"],"deny":[]}}'
)


@pytest.fixture
def machine(tmp_path):
    (tmp_path / "me").mkdir()
    return Machine(settings_at(tmp_path / "my bus", HOME=str(tmp_path / "me")))


@pytest.fixture
def skill(tmp_path):
    folder = tmp_path / "skill"
    (folder / "more").mkdir(parents=True)
    (folder / "SKILL.md").write_text("---\nname: using-agentbus\n---\n")
    (folder / "more" / "words.md").write_text("words\n")
    return folder


def run(steps):
    return [step.do() for step in steps]


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def theirs(machine):
    """Write what a user of Cursor may have, and return it."""
    folder = machine.home / ".cursor"
    (folder / "skills" / "mine").mkdir(parents=True)
    (folder / "skills" / "mine" / "SKILL.md").write_text("mine")
    (folder / "mcp.json").write_text(THEIR_MCP)
    (folder / "hooks.json").write_text(THEIR_HOOKS)
    (folder / "cli-config.json").write_text(THEIR_CLI)
    return tree(machine.home)


def read(machine, name):
    return json.loads((machine.home / ".cursor" / name).read_text())


@pytest.mark.parametrize("before", [theirs, lambda machine: tree(machine.home)])
def test_twice_is_as_once_and_nothing_is_left_at_the_end(machine, skill, before):
    was = before(machine)

    run(cursor.install(machine, skill))
    once = tree(machine.home)
    said = run(cursor.install(machine, skill))

    assert tree(machine.home) == once != was
    assert set(said[:-1]) == {"it is there already"}
    run(cursor.uninstall(machine))
    assert tree(machine.home) == was
    run(cursor.uninstall(machine))
    assert tree(machine.home) == was


@pytest.mark.parametrize("before", [theirs, tree])
def test_the_files_are_as_cursor_documents_them(machine, skill, before):
    if before is theirs:
        theirs(machine)

    run(cursor.install(machine, skill))

    for name in ("mcp", "hooks"):
        schema = json.loads((SCHEMAS / f"cursor-{name}.json").read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(read(machine, f"{name}.json"), schema)
    home = str(machine.settings.environ["AGENTBUS_HOME"])
    assert read(machine, "mcp.json")["mcpServers"]["agentbus"] == {
        "type": "stdio",
        "command": machine.agentbus[0],
        "args": [*machine.agentbus[1:], "serve"],
        "env": {"AGENTBUS_HOST": "cursor", "AGENTBUS_HOME": home},
    }


def test_an_id_is_written_into_the_entry_and_the_link_and_stays(machine, skill):
    run(cursor.install(machine, skill, agent="reviewer"))
    once = tree(machine.home)
    link = urlsplit(run(cursor.install(machine, skill))[-1])

    assert tree(machine.home) == once
    assert read(machine, "mcp.json")["mcpServers"]["agentbus"]["args"][-2:] == ["--agent", "reviewer"]  # fmt: skip
    entry = json.loads(base64.b64decode(parse_qs(link.query)["config"][0]))
    assert entry == read(machine, "mcp.json")["mcpServers"]["agentbus"]
    assert "answers with 5 tools" in cursor.verify(machine)
    run(cursor.install(machine, skill, agent="tester"))
    assert "reviewer" not in str(tree(machine.home))
    run(cursor.uninstall(machine))
    assert tree(machine.home) == {}


@pytest.mark.parametrize("before", [theirs, tree])
def test_a_file_that_was_deleted_since_leaves_no_record(machine, skill, before):
    if before is theirs:
        theirs(machine)
    run(cursor.install(machine, skill))
    folder = machine.home / ".cursor"
    for name in ("mcp.json", "hooks.json", "cli-config.json"):
        (folder / name).unlink(missing_ok=True)
    _folder.remove(folder / "skills" / "using-agentbus")

    records = folder.glob("*.agentbus-backup")
    steps = cursor.uninstall(machine)
    assert hosts.host(machine.settings, "cursor").state == "warning"
    assert {one.what for one in steps} == {f"remove {one}" for one in records}
    run(steps)

    assert not list(machine.home.rglob("*agentbus*"))
    assert cursor.uninstall(machine) == []


def test_what_the_user_added_to_an_entry_of_ours_stays_and_comes_back(machine, skill):
    ours = {
        "command": "/old/agentbus",
        "args": ["serve", "--agent", "reviewer"],
        "env": {"AGENTBUS_URL": "tls://bus.example.org:4222"},
        "envFile": ".env",
    }
    file = machine.home / ".cursor" / "mcp.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"mcpServers": {"agentbus": ours}}))
    was = tree(machine.home)

    run(cursor.install(machine, skill))

    now = read(machine, "mcp.json")["mcpServers"]["agentbus"]
    assert now["command"] == machine.agentbus[0]
    assert now["args"] == [*machine.agentbus[1:], *ours["args"]]
    assert now["env"]["AGENTBUS_URL"] == ours["env"]["AGENTBUS_URL"]
    assert now["envFile"] == ".env"
    run(cursor.uninstall(machine))
    assert tree(machine.home) == was


@pytest.mark.parametrize("before", [theirs, tree])
def test_where_nothing_is_there_nothing_is_to_be_taken_out(machine, before):
    if before is theirs:
        theirs(machine)
        (machine.home / ".cursor" / "mcp.json").write_text("{ // mine\n}")

    assert cursor.uninstall(machine) == []


def test_only_what_is_there_is_to_be_taken_out(machine, skill):
    theirs(machine)
    run(cursor.install(machine, skill))
    folder = machine.home / ".cursor"
    _folder.remove(folder / "skills" / "using-agentbus")
    (folder / "mcp.json").write_text("{ mine: agentbus\n}")
    (folder / "cli-config.json").unlink()
    edit.record_of(folder / "cli-config.json").unlink()

    hooks, server = cursor.uninstall(machine)

    assert "hooks.json" in hooks.what
    with pytest.raises(BadSetup, match=r"mcp\.json"):
        server.do()


def test_what_others_have_there_stays(machine, skill):
    theirs(machine)

    run(cursor.install(machine, skill))

    assert read(machine, "mcp.json")["mcpServers"]["github"] == {"type": "stdio", "command": "gh-mcp"}  # fmt: skip
    assert read(machine, "hooks.json")["hooks"]["stop"][0] == {"command": "./audit.sh"}
    assert read(machine, "cli-config.json")["permissions"] == {
        "allow": ["Shell(ls)", "Mcp(agentbus:*)"],
        "deny": [],
    }


def test_a_file_of_the_cli_is_added_to_and_never_made(machine, skill):
    run(cursor.install(machine, skill))

    assert not (machine.home / ".cursor" / "cli-config.json").exists()


@pytest.mark.parametrize("event", cursor.EVENTS)
def test_a_hook_runs_by_a_shell_and_without_one(tmp_path, monkeypatch, event):
    program = tmp_path / "a b'c" / "agentbus"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "%s|" "$AGENTBUS_HOME" "$@"\n')
    program.chmod(0o700)
    monkeypatch.setattr(Machine, "agentbus", [str(program)])
    machine = Machine(settings_at(tmp_path / "my $bus", HOME=str(tmp_path)))

    run(cursor.install(machine, tmp_path / "a b'c")[:2])
    [hook] = read(machine, "hooks.json")["hooks"][event]
    by_shell = subprocess.run(["/bin/sh", "-c", hook["command"]], capture_output=True, text=True, check=True)  # fmt: skip
    without = subprocess.run(shlex.split(hook["command"]), capture_output=True, text=True, check=True)  # fmt: skip

    assert by_shell.stdout == without.stdout == f"{tmp_path}/my $bus|hook|cursor|{event}|"
    assert hook.get("loop_limit") == (5 if event == "stop" else None)


@pytest.mark.parametrize(
    "command",
    [
        "/usr/bin/agentbus hook cursor stop",
        "'/a b/agentbus' hook cursor stop",
        "/usr/bin/python3 -m mcp_agentbus hook cursor stop",
        "/usr/bin/agentbus hook cursor anotherEvent",
        '"C:\\a b\\agentbus.exe" hook cursor stop',
        "/usr/bin/env AGENTBUS_HOME=/b /usr/bin/agentbus hook cursor stop",
        "/usr/bin/env AGENTBUS_HOME=/b AGENTBUS_AGENT=x /usr/bin/agentbus hook cursor stop",
    ],
)
def test_an_older_hook_of_ours_is_replaced(machine, command):
    file = machine.home / ".cursor" / "hooks.json"
    file.parent.mkdir()
    old = {"command": command}
    other = {"command": "audit agentbus hook cursor stop; true"}
    file.write_text(json.dumps({"version": 1, "hooks": {"stop": [other, old]}}))

    run(cursor.install(machine)[1:2])

    assert len(read(machine, "hooks.json")["hooks"]["stop"]) == 2
    assert read(machine, "hooks.json")["hooks"]["stop"][0] == other
    assert old not in read(machine, "hooks.json")["hooks"]["stop"]


def test_without_a_home_of_its_own_none_is_set(tmp_path, monkeypatch):
    machine = Machine(load_settings({"HOME": str(tmp_path), "PATH": "/bin"}))

    run(cursor.install(machine)[:2])

    entry = read(machine, "mcp.json")["mcpServers"]["agentbus"]
    assert entry["env"] == {"AGENTBUS_HOST": "cursor"}
    assert "AGENTBUS_HOME" not in (tmp_path / ".cursor" / "hooks.json").read_text()


def test_the_link_carries_the_same_entry(machine, skill):
    run(cursor.install(machine, skill))

    link = urlsplit(run(cursor.install(machine, skill))[-1])

    assert (link.scheme, link.netloc, link.path) == ("cursor", "anysphere.cursor-deeplink", "/mcp/install")  # fmt: skip
    asked = parse_qs(link.query)
    entry = json.loads(base64.b64decode(asked["config"][0], validate=True))
    assert asked["name"] == ["agentbus"]
    assert entry == read(machine, "mcp.json")["mcpServers"]["agentbus"]
    assert len(link.geturl()) < 8000


def test_nothing_is_done_before_a_step_is_taken(machine, skill):
    steps = [*cursor.install(machine, skill), *cursor.uninstall(machine)]

    assert tree(machine.home) == {}
    assert f"write {machine.home}/.cursor/mcp.json: mcpServers.agentbus" in [one.what for one in steps]  # fmt: skip


def test_cursor_is_known_by_its_program_or_its_folder(machine, tmp_path):
    assert cursor.found(Machine(settings_at(tmp_path, HOME=str(tmp_path), PATH=""))) is None
    (machine.home / ".cursor").mkdir()
    assert cursor.found(machine) == f"Cursor, {machine.home}/.cursor"
    program = tmp_path / "cursor-agent"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o700)
    there = Machine(settings_at(tmp_path, HOME=str(tmp_path), PATH=str(tmp_path)))
    assert cursor.found(there) == f"Cursor, {program}"


@pytest.mark.started
def test_verifying_starts_the_server_and_sees_its_tools(machine, skill):
    run(cursor.install(machine, skill))

    said = cursor.verify(machine)

    assert "answers with 5 tools" in said
    assert "Cursor was not asked" in said
    assert tree(machine.home.parent / "my bus") == {}  # a probe leaves no trace


@pytest.mark.parametrize("name", ["mcp.json", "hooks.json", "cli-config.json", "skills"])
def test_verifying_tells_what_is_missing(machine, skill, name):
    theirs(machine)
    run(cursor.install(machine, skill))
    if name == "skills":
        _folder.remove(machine.home / ".cursor" / "skills" / "using-agentbus")
    else:
        [entries] = [entries for path, entries in cursor._files(machine) if path.name == name]
        edit.remove(machine.home / ".cursor" / name, *entries)

    with pytest.raises(BadSetup, match=rf"{name}.*Run `agentbus install cursor`"):
        cursor.verify(machine)


def test_a_skill_that_somebody_has_changed_is_neither_overwritten_nor_removed(machine, skill):
    run(cursor.install(machine, skill))
    target = machine.home / ".cursor" / "skills" / "using-agentbus"
    (target / "SKILL.md").write_text("mine now")

    with pytest.raises(BadSetup, match=r"SKILL\.md is not as agentbus wrote it"):
        run(cursor.install(machine, skill))
    said = run(cursor.uninstall(machine))

    assert said[0] == f"left {target}/SKILL.md: it was changed"
    assert {name for name, content in tree(machine.home).items() if content is not None} == {
        ".cursor/skills/using-agentbus/SKILL.md"
    }


def test_only_folders_that_were_made_for_a_copy_go_with_it(tmp_path, skill):
    target = tmp_path / "theirs" / "made" / "x"
    (tmp_path / "theirs").mkdir()

    _folder.copy(skill, target)
    _folder.remove(target)

    assert tree(tmp_path / "theirs") == {}
    assert (tmp_path / "theirs").is_dir()


def test_a_newer_skill_replaces_the_older_one_and_its_files(machine, skill):
    run(cursor.install(machine, skill))
    (skill / "SKILL.md").write_text("newer")
    (skill / "more" / "words.md").unlink()

    run(cursor.install(machine, skill))

    target = machine.home / ".cursor" / "skills" / "using-agentbus"
    assert set(tree(target)) == {"SKILL.md", _folder.LIST}
    assert (target / "SKILL.md").read_text() == "newer"


def test_a_linked_skill_is_refused(machine, skill):
    target = machine.home / ".cursor" / "skills" / "using-agentbus"
    target.parent.mkdir(parents=True)
    target.symlink_to(skill)

    with pytest.raises(BadSetup, match=f"symlink to {skill}"):
        run(cursor.install(machine, skill))

    assert set(tree(skill)) == {"SKILL.md", "more", "more/words.md"}


def test_a_list_of_files_leads_nowhere_else(tmp_path):
    target = tmp_path / "skills" / "x"
    target.mkdir(parents=True)
    precious = tmp_path / "precious"
    precious.write_text("p")
    digest = _folder._sum(precious)
    note = _folder._NOTE.format(0)
    (target / _folder.LIST).write_text(f"{note}\n{digest}  ../../precious\n{digest}  {precious}\n")

    _folder.remove(target)

    assert precious.read_text() == "p"
    assert not target.exists()
