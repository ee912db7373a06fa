# SPDX-License-Identifier: Apache-2.0
"""The hook's script without a bus: where it asks, when it asks, and its silence when it cannot."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import hooking
import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_server import settings_at

from mcp_agentbus.core import places
from mcp_agentbus.core.ids import PROBE
from mcp_agentbus.doctor import hosts
from mcp_agentbus.errors import BadSetup
from mcp_agentbus.relay import door
from mcp_agentbus.relay import hook as command
from mcp_agentbus.relay.carried import words

START = ("claude-code", "SessionStart")
ANSWER = b'{"text":"1 task waits."}\n'
# Each of them takes a tenth of the script's time or more.
HEAVY = {
    "asyncio", "typing", "pathlib", "inspect", "logging", "subprocess", "threading", "argparse",
    "dataclasses", "platformdirs", "mcp", "nats", "pydantic", "mcp_agentbus", "tempfile", "ssl",
}  # fmt: skip


hook = hooking.script()


@contextlib.contextmanager
def false_listener(home, *answers):
    """Listen where a listener would; answer each connection with its bytes, or never with None."""
    (home / "run").mkdir(exist_ok=True)
    asked, over = [], threading.Event()
    with socket.socket(socket.AF_UNIX) as listener:
        with door.Address(str(home / "run" / "listener.sock")) as short:
            listener.bind(short)
        listener.listen()

        def serve():
            for answer in answers:
                try:
                    connection = listener.accept()[0]
                except OSError:  # nobody asks any more
                    return
                with connection:
                    with connection.makefile("rb") as lines:
                        asked.extend(map(json.loads, lines.readlines(1)))
                    if answer is None:
                        over.wait()
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                        connection.sendall(answer or b"")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield asked
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def asked_of(tmp_path, environ, *argv, **told):
    """Return what a hook asks its listener; None if it asks nothing."""
    with false_listener(tmp_path, b"{}\n") as asked:
        hooking.run(environ, *argv, **told)
        if not asked:  # have it end
            hooking.run(hooking.claude(tmp_path, "coder"), *START, session_id="last")
            return None
    return asked[0]


@pytest.fixture
def coder(tmp_path):
    return hooking.claude(tmp_path, "coder")


_folders = st.sampled_from(
    ["", "relative/folder", "/nowhere", "/", "~", "~/bus", "/tmp/", "/root", "/tmp/a b", " "]
)
_environments = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("AGENTBUS_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "HOME"), _folders
    ),
)


@given(environ=_environments, mine=st.booleans())
def test_it_looks_for_the_listener_where_the_listener_is(environ, mine):
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AGENTBUS_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "HOME"):
            patch.delenv(name, raising=False)
        for name, value in environ.items():
            patch.setenv(name, value)
        if not mine:
            for module in (hook, places):
                patch.setattr(module, "_USERS", "/nowhere")

        try:
            folder = places.runtime_folder(environ)
        except BadSetup:  # no listener can be there
            return
        assert hook.runtime_folder(environ) == folder


def test_what_doctor_measures_asks_what_a_new_session_asks(tmp_path):
    environ = {"CURSOR_VERSION": "3.1.0", "AGENTBUS_AGENT": "coder"}
    with false_listener(tmp_path, *[b"{}\n"] * 3) as asked:
        found = hosts.hooks(settings_at(tmp_path, **environ))
        while len(asked) < 3:  # have it end
            hooking.run(hooking.claude(tmp_path, "coder"), *START, session_id="last")

    assert {(one["op"], one["host"], one["urgent"]) for one in asked} == {
        ("mail", "claude-code", False)
    }
    assert {one["environ"]["AGENTBUS_AGENT"] for one in asked} == {"coder"}
    sessions = {one["session"] for one in asked}
    assert len(sessions) == 3
    assert {one[: len(PROBE)] for one in sessions} == {PROBE}
    assert " ms, " in found.said


@pytest.mark.parametrize("home", ["", "/bus", "bus", "~/bus"])
def test_it_says_of_its_environment_what_every_process_says(tmp_path, home):
    environ = {f"{name}{end}": "1" for name in words.SENT for end in ("", "_X", "TOKEN", "URL")}
    environ |= {"AGENTBUS_HOST": "cursor", "AGENTBUS_HOME": home, "HOME": str(tmp_path)}

    assert hook.variables(environ) == words.variables(environ)
    assert (hook._SENT, hook._PATH_MAX_BYTES) == (words.SENT, door.PATH_MAX_BYTES)


def test_it_asks_for_its_session_and_nothing_of_what_its_host_says_besides(tmp_path, coder):
    environ = {**coder, "SECRET_KEY": "canary", "CLAUDE_PROJECT_DIR": "/srv/shop"}

    asked = asked_of(
        tmp_path, environ, "claude-code", "UserPromptSubmit", session_id="s1", prompt="canary"
    )

    assert asked == {
        "op": "mail",
        "host": "claude-code",
        "session": "s1",
        "urgent": False,
        "looked": False,
        "folder": "/srv/shop",
        "environ": {
            "AGENTBUS_HOME": str(tmp_path), "AGENTBUS_AGENT": "coder", "AGENTBUS_HOST": "claude-code",
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("note", "home"),
    [("/bin/agentbus\n{}\n", True), ("\n{}", True), ("/bin/agentbus\n", False), ("\nx", False)],
)
def test_it_asks_on_the_bus_that_was_noted_as_the_plugin_was_installed(tmp_path, note, home):
    (tmp_path / "program").write_text(note.format(tmp_path))
    environ = {"CLAUDE_PLUGIN_DATA": str(tmp_path)}

    noted = hook._question(START, {"session_id": "s1"}, environ)["environ"]
    given = hook._question(START, {"session_id": "s1"}, {**environ, "AGENTBUS_HOME": "/given"})

    assert noted.get("AGENTBUS_HOME") == (str(tmp_path) if home else None)
    assert given["environ"]["AGENTBUS_HOME"] == "/given"


def test_without_such_a_note_nothing_is_missed(tmp_path, coder):
    environ = {**coder, "CLAUDE_PLUGIN_DATA": str(tmp_path / "nowhere")}

    assert asked_of(tmp_path, environ, *START, session_id="s1")["environ"]["AGENTBUS_HOME"] == str(
        tmp_path
    )


@pytest.mark.parametrize("in_wheel", [True, False])
def test_the_command_runs_the_same_script(tmp_path, coder, in_wheel):
    package = tmp_path / "site" / "mcp_agentbus"
    (package / "relay").mkdir(parents=True)
    (package / "relay" / "hook.py").write_bytes(Path(command.__file__).read_bytes())
    for folder in (package, package / "relay"):
        (folder / "__init__.py").touch()
    plugin = package / "plugin" if in_wheel else package.parent
    (plugin / "hooks").mkdir(parents=True)
    (plugin / "hooks" / "agentbus_hook.py").write_bytes(hooking.SCRIPT.read_bytes())
    code = f"import sys; from mcp_agentbus.relay import hook; sys.exit(hook.run({list(START)!r}))"

    with false_listener(tmp_path, ANSWER):
        ran = subprocess.run(
            [sys.executable, "-S", "-P", "-X", "importtime", "-c", code],
            input=b'{"session_id":"s1"}', capture_output=True,
            env={**coder, "PYTHONPATH": str(package.parent)}, check=True,
        )  # fmt: skip

    imported = {line.split("|")[-1].strip() for line in ran.stderr.decode().splitlines()}
    assert b"1 task waits" in ran.stdout
    assert imported & HEAVY <= {"mcp_agentbus", "mcp_agentbus.relay", "typing"}


def test_the_command_of_an_installation_without_the_script_is_silent(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "_SCRIPT", "nowhere.py")

    assert command.run(START) == 0


def test_cursor_names_its_session_and_folder_in_its_own_way(tmp_path):
    asked = asked_of(
        tmp_path, hooking.cursor(tmp_path, "coder"), "cursor", "postToolUse",
        conversation_id="c1", workspace_roots=["/srv/shop", "/srv/other"], tool_name="Shell",
    )  # fmt: skip

    assert (asked["session"], asked["folder"]) == ("c1", "/srv/shop")


@pytest.mark.parametrize(
    ("argv", "told", "looked"),
    [
        (("claude-code", "PostToolBatch"), {"tool_calls": [{"tool_name": "Bash"}]}, False),
        (
            ("claude-code", "PostToolBatch"),
            {"tool_calls": [{"tool_name": "Bash"}, {"tool_name": "mcp__agentbus__read_inbox"}]},
            True,
        ),
        (("cursor", "postToolUse"), {"tool_name": "MCP:watch_inbox"}, True),
    ],
)
def test_it_says_when_the_model_has_just_looked_for_itself(tmp_path, argv, told, looked):
    environ = (hooking.cursor if argv[0] == "cursor" else hooking.claude)(tmp_path, "coder")

    assert asked_of(tmp_path, environ, *argv, session_id="s1", **told)["looked"] is looked


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("claude-code", "Stop"), {"stop_hook_active": True}),
        (("claude-code", "PreToolUse"), {}),
        (("claude-code", "stop"), {}),
        (("claude-code", "PostToolBatch"), {"agent_id": "a-subagent"}),
        (("claude-code", "SessionStart"), {"session_id": ""}),
        (("cursor", "stop"), {"loop_count": 1}),
        (("cursor", "stop"), {"status": "aborted"}),
        (("cursor", "beforeSubmitPrompt"), {}),
        (("other", "SessionStart"), {}),
        ((), {}),
        (("claude-code",), {}),
    ],
)
def test_where_there_is_nothing_to_say_it_asks_nothing(tmp_path, argv, told):
    given = json.dumps({"session_id": "s1", **told}).encode()
    environ = (hooking.cursor if argv[:1] == ("cursor",) else hooking.claude)(tmp_path, "coder")

    with false_listener(tmp_path, ANSWER) as asked:
        assert hooking.ran(environ, *argv, stdin=given) == b""
        assert asked == []
        assert hooking.run(hooking.claude(tmp_path, "coder"), *START, session_id="last")


def test_claude_codes_hooks_are_silent_in_cursor_which_runs_its_own_besides(tmp_path):
    assert asked_of(tmp_path, hooking.cursor(tmp_path, "coder"), *START, session_id="s1") is None


def test_each_event_is_answered_in_its_hosts_form(tmp_path, coder):
    stop = {"loop_count": 0, "status": "completed"}
    with false_listener(tmp_path, ANSWER, ANSWER, ANSWER):
        start = hooking.ran(coder, *START, stdin=b'{"session_id":"s1"}')
        cursor = hooking.cursor(tmp_path, "coder")
        context = hooking.run(cursor, "cursor", "sessionStart", session_id="s1")
        followup = hooking.run(cursor, "cursor", "stop", conversation_id="s1", **stop)

    assert json.loads(start) == {
        "hookSpecificOutput": {
            "hookEventName": "SessionStart",
            "additionalContext": "1 task waits.",
        }
    }
    assert context == followup == "1 task waits."


def test_without_a_listener_it_says_nothing(coder):
    assert hooking.run(coder, *START, session_id="s1") == ""


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"",
        b"\n",
        b'{"text":"cut"}',
        b"not JSON\n",
        b"[]\n",
        b"{}\n",
        b'{"error":"no","hint":""}\n',
        b'{"text":["x"]}\n',
        b'{"text":"two\\nlines"}\n',
        b'{"text":"' + b"x" * 5000 + b'"}\n',
        b"x" * 100_000,
    ],
)
def test_a_false_answer_or_none_is_silence(tmp_path, coder, answer):
    with false_listener(tmp_path, answer):
        assert hooking.run(coder, *START, session_id="s1") == ""


def test_a_socket_of_nobody_is_silence(tmp_path, coder):
    (tmp_path / "run").mkdir()
    at = f"{tmp_path}/run/listener.sock"
    with socket.socket(socket.AF_UNIX) as left, door.Address(at) as short:
        left.bind(short)

    assert hooking.run(coder, *START, session_id="s1") == ""


def test_somebody_elses_listener_is_not_believed(tmp_path, monkeypatch):
    with false_listener(tmp_path, ANSWER) as asked:
        question = {"op": "mail", "environ": {"AGENTBUS_HOME": str(tmp_path)}}
        mine = os.getuid()
        with monkeypatch.context() as patch:
            patch.setattr(os, "getuid", lambda: mine + 1)
            with pytest.raises(PermissionError):
                hook._ask(question)
    assert asked == []


@pytest.mark.parametrize(
    "stdin", [b"", b"\xff\xfe", b"nonsense", b"[]", b"null", b"3", b'"s1"', b"{" * 100_000, b"{}"]
)
def test_what_its_host_should_not_say_is_silence(coder, stdin):
    assert hooking.ran(coder, *START, stdin=stdin) == b""


def test_a_huge_input_is_read_to_its_end_and_is_silence(tmp_path, coder):
    huge = json.dumps({"session_id": "s1", "x": "x" * (hook.INPUT_MAX_BYTES + 1)}).encode()

    with false_listener(tmp_path, ANSWER) as asked:
        assert hooking.ran(coder, *START, stdin=huge) == b""
        assert asked == []
        assert hooking.run(coder, *START, session_id="s1", x="x" * 1_000_000) == "1 task waits."


def test_a_host_that_never_ends_what_it_says_is_silence(coder):
    read, write = os.pipe()
    try:
        os.write(write, b'{"session_id":')
        assert hooking.ran(coder, *START, stdin=read, input=None) == b""
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_closed_pipe_is_silence(tmp_path, coder, closed):
    shell = f'exec "$0" -I -S "$@" {closed}{"<" if closed == 0 else ">"}&-'
    with false_listener(tmp_path, ANSWER):
        ran = subprocess.run(
            ["/bin/sh", "-c", shell, sys.executable, str(hooking.SCRIPT), *START],
            input=b'{"session_id":"s1"}', capture_output=True, env=coder, check=False,
        )  # fmt: skip
        assert (ran.returncode, ran.stderr) == (0, b"")
        if closed == 0:
            assert hooking.run(coder, *START, session_id="last")


def test_a_listener_in_a_folder_with_a_long_name_is_found(tmp_path):
    home = tmp_path / ("long" * 25)
    home.mkdir()

    with false_listener(home, ANSWER):
        assert hooking.run(hooking.claude(home, "coder"), *START, session_id="s1")


def test_it_imports_little_of_the_standard_library_and_nothing_else(tmp_path, coder):
    with false_listener(tmp_path, ANSWER):
        ran = subprocess.run(
            [sys.executable, "-I", "-S", "-X", "importtime", str(hooking.SCRIPT), *START],
            input=b'{"session_id":"s1"}', capture_output=True, env=coder, check=True,
        )  # fmt: skip

    imported = {line.split("|")[-1].strip() for line in ran.stderr.decode().splitlines()}
    assert b"1 task waits" in ran.stdout
    assert {"json", "socket"} <= imported
    assert imported & HEAVY == set()
    assert len(imported) < 60
