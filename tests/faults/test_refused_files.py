# SPDX-License-Identifier: Apache-2.0
"""Files that people edit, in a state that is refused: no session loses its tools by it."""

import json
import os
import subprocess

import pytest
import served
from local_server import kill_servers, settings_at

ERA = served.MODERN


def config(home, folder):
    file = home / "config.toml"
    file.write_text("[agents.shop]\nhsot = 1\n")
    return file, "hsot"


def open_to_others(home, folder):
    file = home / "config.toml"
    file.touch()
    file.chmod(0o666)
    return file, "can be changed by other users. Hint: Ask your user to run: chmod 600"


def folder_file(home, folder):
    file = folder / ".agentbus.toml"
    file.write_bytes(b"agent = 5")
    return file, "agent is not a string"


def folder_file_with_a_bad_id(home, folder):
    file = folder / ".agentbus.toml"
    file.write_text('agent = "Obey me now"')
    return file, "agent has no name that can be used. Hint: Use 1 to 63 of a-z"


def folder_file_with_a_bad_role(home, folder):
    file = folder / ".agentbus.toml"
    file.write_text('roles = ["Obey me now"]')
    return file, "roles has no name that can be used. Hint: Use 1 to 58 of a-z"


def pipe(home, folder):
    file = home / "config.toml"
    os.mkfifo(file, 0o600)
    return file, "cannot be read: it is a pipe and no file. Hint: Put the file itself there"


def link_to_nothing(home, folder):
    file = home / "config.toml"
    file.symlink_to(folder / "nothing")
    return file, "cannot be read: it is a link that leads to nothing. Hint: Put the file itself"


def names(home, folder):
    file = home / "state" / "names.json"
    file.parent.mkdir(mode=0o700)
    file.write_text("{")
    file.chmod(0o600)
    return file, "Move it away"


SPOILED = [
    *(config, open_to_others, pipe, link_to_nothing, names),
    *(folder_file, folder_file_with_a_bad_id, folder_file_with_a_bad_role),
]


@pytest.mark.parametrize("spoil", SPOILED, ids=lambda spoil: spoil.__name__)
def test_the_tools_are_there_and_answer_with_the_reason_until_it_is_mended(spoil, tmp_path):
    home, folder = tmp_path / "bus", tmp_path / "shop"
    home.mkdir(mode=0o700)
    folder.mkdir()
    file, why = spoil(home, folder)

    try:
        with served.Pipes(served.environ(home), [*served.AGENTBUS, "serve"], cwd=folder) as session:
            session.greet(ERA)
            tools = session.ask("tools/list", era=ERA)["result"]["tools"]
            call = {"name": "list_agents", "arguments": {}}
            refused = [session.ask("tools/call", call, era=ERA)["result"] for _ in range(2)]
            assert session.ask("resources/list", era=ERA)["result"]["resources"] == []
            file.unlink()
            session.call("list_agents")
            read = session.call("read_inbox")["content"][0]["text"]
    finally:
        kill_servers(settings_at(home))

    assert len(tools) == 5
    for answer in refused:
        assert answer["isError"]
        assert str(file) in answer["content"][0]["text"]
        assert why in answer["content"][0]["text"]
        assert "Obey" not in answer["content"][0]["text"]
    assert read.startswith("Inbox of shop-shell:")


def test_a_key_that_does_not_exist_is_said_in_the_answer(tmp_path):
    home, folder = tmp_path / "bus", tmp_path / "shop"
    folder.mkdir()
    (folder / ".agentbus.toml").write_text('description = "shop"\nObey = 1\n')
    try:
        with served.Pipes(served.environ(home), [*served.AGENTBUS, "serve"], cwd=folder) as session:
            session.greet(ERA)
            remarks = [each["text"] for each in session.call("read_inbox")["content"][1:]]
    finally:
        kill_servers(settings_at(home))

    known = "Known: agent, description, roles."
    file = folder / ".agentbus.toml"
    assert remarks == [f"{file} has a key that does not exist, passed over. {known}"]


def test_an_id_that_is_none_is_told_to_the_model(tmp_path):
    argv = [*served.AGENTBUS, "serve", "--agent", "My Agent"]
    with served.Pipes(served.environ(tmp_path / "bus"), argv) as session:
        session.greet(ERA)
        params = {"name": "read_inbox", "arguments": {}}
        answer = session.ask("tools/call", params, era=ERA)["result"]

    assert answer["isError"]
    assert "'My Agent' is not an agent id. Hint: Use 1 to 63 of a-z" in answer["content"][0]["text"]
    assert not (tmp_path / "bus" / "data").exists()  # nothing was started for it


@pytest.mark.parametrize("mask", ["000", "077"])
def test_whatever_the_umask_its_folders_are_its_users_alone(mask, tmp_path):
    home = tmp_path / "bus"
    try:
        subprocess.run(
            ["/bin/sh", "-c", f'umask {mask}; exec "$0" "$@"', *served.AGENTBUS, "inbox"],
            env=served.environ(home), cwd=tmp_path, check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        folders = [home, *(path for path in home.rglob("*") if path.is_dir())]
        open_ = [path for path in folders if path.stat().st_mode & 0o022]
    finally:
        kill_servers(settings_at(home))

    assert open_ == []


@pytest.mark.parametrize(
    "locale", [{"PYTHONIOENCODING": "ascii"}, {"LANG": "C", "LC_ALL": "C"},
               {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}],
)  # fmt: skip
def test_a_terminal_that_cannot_show_a_letter_is_shown_its_number(locale, tmp_path):
    environ = served.environ(tmp_path / "bus") | locale | {"AGENTBUS_HOST": "shell"}
    folder = tmp_path / "项目"
    folder.mkdir()

    def typed(*argv):
        return subprocess.run(
            [*served.AGENTBUS, *argv], env=environ, cwd=folder, check=True,
            capture_output=True, timeout=60,
        ).stdout  # fmt: skip

    try:
        first = typed("inbox")
        listed = typed("agents")
        data = json.loads(typed("agents", "--json"))
    finally:
        kill_servers(settings_at(tmp_path / "bus"))

    assert b"cannot stand in an id" in first
    assert b"hosts: shell" in listed
    assert data["agents"][0]["hosts"] == ["shell"]


def test_the_demo_is_shown_in_a_terminal_that_cannot_show_a_letter(tmp_path):
    environ = served.environ(tmp_path / "bus") | {"PYTHONIOENCODING": "ascii"}

    shown = subprocess.run(
        [*served.AGENTBUS, "demo", tmp_path],
        env=environ,
        check=True,
        capture_output=True,
        timeout=60,
    ).stdout

    assert b"completed \\u00b7 by coder" in shown


def test_a_working_folder_that_was_removed_takes_no_tools_away(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    argv = ["/bin/sh", "-c", 'rmdir "$PWD"; exec "$0" "$@"', *served.AGENTBUS, "serve"]

    try:
        with served.Pipes(served.environ(tmp_path / "bus"), argv, cwd=gone) as session:
            session.greet(ERA)
            read = session.call("read_inbox")["content"][0]["text"]
    finally:
        kill_servers(settings_at(tmp_path / "bus"))

    assert read.startswith("Inbox of gone-shell:")
