# SPDX-License-Identifier: Apache-2.0
"""The table of hosts: what it says of each, of none, and that its files are there."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from local_server import script

import mcp_agentbus
from mcp_agentbus.core import hosts
from mcp_agentbus.core.feather import ancestors

ROOT = Path(mcp_agentbus.__file__).parents[1]
ROWS = pytest.mark.parametrize("host", hosts.HOSTS, ids=lambda host: host.name)


@pytest.mark.parametrize(
    ("marks", "name"),
    [
        ("", None),
        ("HOME", None),
        ("CLAUDECODE", "claude-code"),
        ("CURSOR_VERSION", "cursor"),
        ("CURSOR_TRACE_ID", "cursor"),
        ("OPENCLAW_STATE_DIR", "openclaw"),
        ("OPENCLAW_SHELL", "openclaw"),
        # Cursor runs Claude Code's hooks; in its terminal anybody runs.
        ("CLAUDECODE CURSOR_VERSION", "cursor"),
        ("CLAUDECODE CURSOR_TRACE_ID", "claude-code"),
        ("OPENCLAW_SHELL CURSOR_TRACE_ID", "openclaw"),
        ("CLAUDECODE OPENCLAW_SHELL CURSOR_TRACE_ID", "claude-code"),
        ("CLAUDECODE CURSOR_VERSION CURSOR_TRACE_ID", "cursor"),
        ("OPENCLAW_STATE_DIR CURSOR_TRACE_ID", "cursor"),
        # OpenClaw starts the others for its own work.
        ("CLAUDECODE OPENCLAW_SHELL", "claude-code"),
        # A user may have set these for every shell.
        ("CLAUDECODE OPENCLAW_STATE_DIR", "claude-code"),
        ("CURSOR_VERSION OPENCLAW_SHELL", "cursor"),
        ("CODEX_THREAD_ID", "codex"),
        ("COPILOT_CLI", "copilot"),
        ("GEMINI_CLI CURSOR_TRACE_ID", "gemini"),
        ("OPENCODE_PID", "opencode"),
        ("QWEN_CODE", "qwen"),
        ("CLAUDECODE CURSOR_VERSION OPENCLAW_STATE_DIR", "cursor"),
    ],
)
def test_a_host_is_told_by_its_marks(marks, name):
    host = hosts.marked(dict.fromkeys(marks.split(), "1"))

    assert (host and host.name) == name


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("/lib/node_modules/opencode-ai/bin/opencode.exe run hello", "opencode"),
        ("node /lib/node_modules/@qwen-code/qwen-code/cli-entry.js", "qwen"),
    ],
)
def test_a_host_is_told_where_a_package_manager_starts_its_file_by_its_path(
    line, name, monkeypatch
):
    monkeypatch.setattr(ancestors, "words", lambda _: line.split())
    monkeypatch.setattr(ancestors, "_LINUX", False)

    assert hosts.said({}) == {"AGENTBUS_HOST": name}


@pytest.mark.parametrize(
    ("environ", "session"),
    [
        ({}, ""),
        ({"CLAUDE_CODE_SESSION_ID": ""}, ""),
        ({"CLAUDE_CODE_SESSION_ID": "1f0c"}, "1f0c"),
        ({"CURSOR_VERSION": "3.1.0", "CLAUDE_CODE_SESSION_ID": "1f0c"}, "1f0c"),
    ],
)
def test_a_hosts_own_id_of_a_session_is_read_from_its_environment(environ, session):
    assert hosts.session_of(environ) == session


def test_an_empty_mark_tells_nothing():
    assert hosts.marked({"CLAUDECODE": ""}) is None


def test_of_a_host_without_a_row_only_its_name_is_known():
    assert vars(hosts.named("emacs")) == {"name": "emacs"}
    assert not hosts.named("emacs").limited


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("allow", ("claude-code",)),
        ("chat", ("cursor",)),
        ("token_file", ("openclaw",)),
        ("command", ("command",)),
        ("resume", ("claude-code",)),
        ("instruction", hosts.WOKEN),
    ],
)
def test_a_key_of_the_configuration_is_for_some_hosts_or_for_all(key, names):
    assert hosts.with_key(key) == names


@ROWS
def test_the_files_that_a_row_names_are_there(host):
    if host.waker:
        waker = ROOT / "mcp_agentbus" / "wakes" / "hosts" / f"{host.waker}.py"
        assert "wake" in _defined(waker)
    if host.installer:
        file, _, name = host.installer.partition(":")
        wanted = {name} if name else {"found", "install", "uninstall", "verify"}
        assert _defined(ROOT / "installers" / f"{file}.py") >= wanted


def test_nobody_else_compares_the_names_of_hosts():
    names = "|".join(host.name for host in hosts.HOSTS)
    compared = re.compile(rf"""[!=]= ["']({names})["']|["']({names})["'] [!=]=""")
    files = [
        file for room in ("mcp_agentbus", "installers") for file in (ROOT / room).rglob("*.py")
    ]

    assert [file for file in files if compared.search(file.read_text())] == []


@ROWS
def test_whatever_tells_a_host_stays_with_its_session(host):
    own = filter(None, (*host.marks, *host.around, host.session_id))
    assert all(map(hosts.is_of_session, own))


def test_what_a_user_sets_for_a_host_is_no_sessions_own():
    assert not hosts.is_of_session("GEMINI_CLI_HOME")
    assert not hosts.is_of_session("CODEX_HOME")


def _defined(file):
    names = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.AnnAssign):
            names.add(node.target.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
    return names


def _within(folder, *names):
    """Return the beginning of a command line that runs the rest within programs of these names."""
    folder.mkdir(exist_ok=True)
    return [script(folder / name, '"$@"', "exit $?") for name in names]


@pytest.mark.parametrize(
    ("within", "environ", "host"),
    [
        (["cursor", "claude"], {"CURSOR_TRACE_ID": "x", "CLAUDECODE": "1"}, "claude-code"),
        (["claude", "cursor-agent"], {"CURSOR_VERSION": "x", "CLAUDECODE": "1"}, "cursor"),
        (["openclaw", "claude"], {"OPENCLAW_SHELL": "exec", "CLAUDECODE": "1"}, "claude-code"),
        (["claude", "openclaw"], {"OPENCLAW_SHELL": "exec", "CLAUDECODE": "1"}, "openclaw"),
        # Not all that a host starts has its marks.
        (["claude", "gemini"], {"CLAUDECODE": "1"}, "gemini"),
        (["codex"], {}, "codex"),
        (["copilot", "editor"], {}, "copilot"),
        # What is said counts, and where no ancestor tells, what is likely.
        (["cursor", "claude"], {"CURSOR_TRACE_ID": "x", "CLAUDECODE": "1",
                                "AGENTBUS_HOST": "codex"}, "codex"),
        (["editor"], {"CURSOR_TRACE_ID": "x", "CLAUDECODE": "1"}, "claude-code"),
        (["editor"], {"CURSOR_VERSION": "x", "CLAUDECODE": "1"}, "cursor"),
        (["editor"], {"CURSOR_TRACE_ID": "x", "OPENCLAW_SHELL": "exec"}, "openclaw"),
        (["cursor"], {"CURSOR_TRACE_ID": "x", "CLAUDECODE": "1"}, "cursor"),
    ],
)  # fmt: skip
def test_of_hosts_the_nearest_ancestor_counts(within, environ, host, tmp_path):
    shop = tmp_path / "shop"
    shop.mkdir()
    code = (
        "from mcp_agentbus.core.feather import ancestors\n"
        f"ancestors.ANCESTORS_MAX = {len(within)}\n"  # whoever runs the tests
        "from mcp_agentbus.config import identity, settings\n"
        "from mcp_agentbus.relay import local_socket\n"
        "import os\n"
        "print(identity.who(settings.load_settings()).id,"
        " identity.host_of(local_socket.surroundings(os.environ)['environ']))"
    )
    environ = {"PATH": os.environ["PATH"], "AGENTBUS_HOME": str(tmp_path), **environ}

    ended = subprocess.run(
        [*_within(tmp_path / "bin", *within), sys.executable, "-c", code],
        env=environ, cwd=shop, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip

    assert ended.stdout.split() == [f"shop-{host.partition('-')[0]}", host]
