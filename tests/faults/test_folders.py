# SPDX-License-Identifier: Apache-2.0
"""No home, another user's, or a working folder that is gone: all works, or a sentence says why."""

import errno
import json
import os
import subprocess
from pathlib import Path

import pytest
import served
from local_server import server_folder

from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.core import places
from mcp_agentbus.core.files import not_mine, unusable
from mcp_agentbus.errors import BadSetup

# Each kind of command once: of the bus, of the server, of the listener, of the configuration.
COMMANDS = [
    ["inbox"],
    ["server", "start"],
    ["listen"],
    ["agent", "add", "zed", "--host", "claude-code", "--dir", "/usr"],
    ["serve"],
]
pytestmark = pytest.mark.started
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root is another user")
NOBODY = 54321  # a user without an account


def typed(*argv, env, before=None):
    """Type `agentbus ARGV`; return its exit code and what it printed."""
    ended = subprocess.run(
        [*served.AGENTBUS, *argv],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": served.PACKAGE, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=before,
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stdout


def assert_a_sentence(code, said):
    """See that it says what is wrong and one thing to do, and is no traceback."""
    message, hint = said.splitlines()
    assert code in {1, 3}
    assert message.startswith("agentbus: ")
    assert message.endswith(".")
    assert hint.startswith("Hint: ")


@pytest.fixture
def gone(tmp_path):
    """Go into a folder that is removed then; to be called in the process that it is for."""
    folder = tmp_path / "shop"

    def go():
        folder.mkdir()
        os.chdir(folder)
        folder.rmdir()

    return go


def test_in_a_working_folder_that_is_gone_a_shell_is_who_it_was_there(tmp_path, gone):
    with server_folder(tmp_path / "bus"):
        code, said = typed(
            "inbox", env=served.environ(tmp_path / "bus") | {"AGENTBUS_HOST": "shell"}, before=gone
        )

    assert (code, said) == (0, "Inbox of shop-shell: ok, nothing new. Waiting: none.\n")


def test_in_a_working_folder_that_is_gone_a_session_is_served(tmp_path, gone):
    def go_and_serve():
        gone()
        return served.Pipes(served.environ(tmp_path / "bus"), served.command("coder"))

    here = Path.cwd()
    with server_folder(tmp_path / "bus"):
        try:
            with go_and_serve() as server:
                os.chdir(here)
                server.greet(served.MODERN)
                assert "Inbox of coder" in json.dumps(server.call("read_inbox"))
        finally:
            os.chdir(here)


def test_what_is_relative_in_a_working_folder_that_is_gone_is_refused_in_a_sentence(gone):
    code, said = typed("inbox", env={"AGENTBUS_HOME": "bus"}, before=gone)

    assert_a_sentence(code, said)
    assert "AGENTBUS_HOME is bus, in a working folder that is gone" in said


@pytest.mark.parametrize("home", [{}, {"HOME": ""}, {"HOME": "relative"}])
def test_without_a_home_that_says_where_the_account_does(home, monkeypatch):
    import pwd

    account = pwd.getpwuid(os.getuid()).pw_dir.rstrip("/")
    monkeypatch.setenv("HOME", "/elsewhere")  # only what is given counts

    assert places.user_home(home) == account
    assert str(load_settings(home).data_dir).startswith(f"{account}/")


def test_without_an_account_either_all_commands_say_so(monkeypatch):
    def nobody(_):
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", nobody)
    with pytest.raises(BadSetup, match=r"There is no home folder.*AGENTBUS_HOME") as none:
        load_settings({})

    assert str(os.getuid()) in none.value.message
    assert load_settings({"AGENTBUS_HOME": "/bus"}).state_dir.name == "state"


@pytest.mark.parametrize("argv", COMMANDS)
def test_where_no_folder_can_be_made_each_command_names_it(argv, tmp_path):
    """A file stands where the home should be: that stops root, too."""
    home = tmp_path / "home"
    home.touch()

    code, said = typed(*argv, env={"HOME": str(home), "AGENTBUS_LISTENER": "off"})

    assert_a_sentence(code, said)
    assert str(home) in said


def test_where_no_folder_can_be_made_doctor_says_so(tmp_path):
    home = tmp_path / "home"
    home.touch()

    code, said = typed("doctor", "--json", env={"HOME": str(home), "AGENTBUS_LISTENER": "off"})
    wrong = [check for check in json.loads(said)["checks"] if check["name"] == "files"]

    assert code == 1
    assert {check["state"] for check in wrong} == {"wrong"}
    assert any(f"{home}/.local/share/agentbus cannot be written to" in c["said"] for c in wrong)
    assert all(check["fix"].startswith("See: ls -ld ") for check in wrong)


@needs_root
@pytest.mark.parametrize("argv", COMMANDS[:3])
def test_of_folders_that_are_another_users_the_command_that_mends_it_is_named(argv, tmp_path):
    """As after `sudo -E`: here root stands in another's home, which it does not change."""
    home = tmp_path / "home"
    for kind in ("share", "state"):
        (home / ".local" / kind / "agentbus").mkdir(parents=True, mode=0o700)
        os.chown(home / ".local" / kind / "agentbus", NOBODY, NOBODY)
    env = {"HOME": str(home), "AGENTBUS_LISTENER": "off"}

    code, said = typed(*argv, env=env)

    assert_a_sentence(code, said)
    assert "belongs to another user" in said
    assert "without sudo" in said
    assert {path.name for path in home.rglob("*")} <= {".local", "share", "state", "agentbus"}


@pytest.mark.parametrize(
    ("code", "path", "hint"),
    [
        (errno.EACCES, "{home}/agentbus/state/x", "Run: sudo chown -R $USER {home}/agentbus"),
        (errno.EACCES, "{home}/agentbus", "Run: sudo chown -R $USER {home}/agentbus"),
        (errno.EACCES, "{home}/agentbus-shop/x", "See: ls -ld {home}/agentbus-shop; or name"),
        (errno.EACCES, "{home}/src/agentbus/x", "See: ls -ld {home}/src/agentbus; or name"),
        (errno.EACCES, "{home}/.local", "See: ls -ld {home}; or name a folder of yours"),
        (errno.EACCES, "/nonexistent/me", "See: ls -ld /; or name a folder of yours"),
        (errno.EROFS, "{home}/x", "It is mounted read-only, as by a sandbox, or"),
        (errno.ENOSPC, "{home}/x", "Free some disk space, then run this again; see: df -h {home}"),
        (errno.EDQUOT, "{home}/x", "Free some disk space, then run this again; see: df -h {home}"),
    ],
)
def test_what_mends_a_folder_is_never_more_than_this_programs_own(
    code, path, hint, tmp_path, monkeypatch
):
    monkeypatch.setattr("os.getuid", lambda: NOBODY)
    monkeypatch.setenv("AGENTBUS_HOME", str(tmp_path / "agentbus"))
    for folder in ("agentbus", "agentbus-shop", "src/agentbus"):
        (tmp_path / folder).mkdir(parents=True)
    path = path.format(home=tmp_path)

    refused = unusable(OSError(code, os.strerror(code), path))

    assert refused.message == f"{path} cannot be used: {os.strerror(code)}."
    assert refused.hint.startswith(hint.format(home=tmp_path))
    assert not_mine(tmp_path).hint == f"Run: sudo chown -R $USER {tmp_path}"


@pytest.mark.parametrize("below", ["", "state", "state/file"])
def test_what_mends_a_folder_that_its_own_user_has_closed_is_to_open_it(
    below, tmp_path, monkeypatch
):
    mine = tmp_path / "agentbus"
    mine.mkdir()
    monkeypatch.setenv("AGENTBUS_HOME", str(mine))
    if os.getuid() == 0:  # root may do what it likes
        os.chown(mine, NOBODY, NOBODY)
        monkeypatch.setattr("os.getuid", lambda: NOBODY)

    refused = unusable(PermissionError(errno.EACCES, "Permission denied", str(mine / below)))

    assert refused.hint == f"Run: chmod -R u+rwX {mine}"
