# SPDX-License-Identifier: Apache-2.0
"""A hook of a host: tells its model once what waits in the inbox of its agent.

    $ echo '{"session_id": "1f0c"}' | python3 -I -S agentbus_hook.py claude-code SessionStart
    {"hookSpecificOutput": {"hookEventName": "SessionStart", "additionalContext": "1 task ..."}}

The listener knows what waits, and what this session was told; it is asked over the local socket.
Whatever goes wrong, this prints nothing and ends with 0: a hook must never stand in its host's way.
It runs on its own, next to no package, with any Python 3.9 or later, and imports little: it is
started at each turn.
"""
# pathlib would take a third of its time.
# ruff: noqa: INP001, PTH100, PTH109, PTH111, PTH116, PTH117, PTH118

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time

TYPE_CHECKING = False  # the module that has it is not little
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

# How long the listener and the host may take, in seconds; the listener says nothing after 0.2.
ASK_TIMEOUT_S = 0.3
INPUT_TIMEOUT_S = 1.0
# The results of a batch of tools are in it; what is larger is read and ignored.
INPUT_MAX_BYTES = 8 << 20
ANSWER_MAX_BYTES = 4096
_USERS = "/run/user"
_PATH_MAX_BYTES = 103
_NOTE_MAX_BYTES = 16 * 1024  # three paths
# Tools whose answer says what waits.
_LOOKS = ("read_inbox", "watch_inbox")


class ClaudeCode:
    """How Claude Code's hooks ask and are answered; each host's form has these attributes."""

    # Variables that tell whose process this is, as in `core.hosts` of the package.
    marks = ("CLAUDECODE",)
    # Where this is set, another host runs these hooks besides its own, and gets no second word.
    void = "CURSOR_VERSION"
    # The event at which the host shows its user a line, and its key.
    shows = ("SessionStart", "systemMessage")
    events = frozenset({"SessionStart", "UserPromptSubmit", "PostToolBatch", "Stop"})

    @staticmethod
    def session(given: dict[str, Any]) -> object:
        """Return the session's id in what the host says."""
        return given.get("session_id")

    @staticmethod
    def folder(given: dict[str, Any], environ: Mapping[str, str]) -> object:
        """Return the folder in which the session works."""
        return environ.get("CLAUDE_PROJECT_DIR") or given.get("cwd")

    @staticmethod
    def again(given: dict[str, Any]) -> object:
        """Tell whether this end of a turn is not to be put off (once more)."""
        return given.get("stop_hook_active")

    @staticmethod
    def answer(event: str, text: str) -> dict[str, Any]:
        """Return the form in which the host wants to be told."""
        return {"hookSpecificOutput": {"hookEventName": event, "additionalContext": text}}


class Cursor:
    """How Cursor's hooks ask and are answered."""

    marks = ("CURSOR_VERSION", "CURSOR_TRACE_ID")  # the second is in its terminal, too
    void = ""
    # And the key of what is to be said.
    events = {  # noqa: RUF012  # the module that has ClassVar is not little
        "sessionStart": "additional_context",
        "postToolUse": "additional_context",
        "stop": "followup_message",
    }

    @staticmethod
    def session(given: dict[str, Any]) -> object:
        """Return the conversation's id."""
        return given.get("conversation_id") or given.get("session_id")

    @staticmethod
    def folder(given: dict[str, Any], environ: Mapping[str, str]) -> object:
        """Return the project's folder, or the first of several."""
        roots = given.get("workspace_roots") or [given.get("cwd")]
        return environ.get("CURSOR_PROJECT_DIR") or roots[0]

    @staticmethod
    def again(given: dict[str, Any]) -> object:
        """Tell whether an answer led to this turn, or its user has broken it off."""
        return given.get("loop_count") or given.get("status", "completed") != "completed"

    @staticmethod
    def answer(event: str, text: str) -> dict[str, Any]:
        """Return the form in which Cursor wants to be told."""
        return {Cursor.events[event]: text}


FORMS = {"claude-code": ClaudeCode, "cursor": Cursor}
# As in `relay.carried.words` of the package; a test holds them together. Other hosts have no such
# hooks, but may have started the host.
_SENT = (
    "AGENTBUS_",
    "HOME",
    "XDG_",
    *(mark for form in FORMS.values() for mark in form.marks),
    "OPENCLAW_SHELL",
    "OPENCLAW_STATE_DIR",
    "CODEX_THREAD_ID",
    "CODEX_CI",
    "COPILOT_CLI",
    "COPILOT_AGENT_SESSION_ID",
    "GEMINI_CLI",
    "OPENCODE_PID",
    "QWEN_CODE",
)


def main(argv: Sequence[str]) -> int:
    """Answer a host's hook, `[HOST, EVENT]`, on standard output; always return 0."""
    try:
        given = _given()
        question = _question(argv, given, os.environ)
        if question:
            text, person = _ask(question)
            if text:
                form = FORMS[argv[0]]
                answer = form.answer(argv[1], text)
                event, key = getattr(form, "shows", ("", ""))
                if person and argv[1] == event:
                    answer[key] = person
                os.write(1, json.dumps(answer).encode() + b"\n")
    except (Exception, KeyboardInterrupt):  # noqa: BLE001  # see the top
        return 0
    return 0


def _given() -> dict[str, Any]:
    """Return what the host says; raises where that is no JSON object, or does not end in time."""
    read: list[bytes] = []
    size, until = 0, time.monotonic() + INPUT_TIMEOUT_S
    while select.select([0], [], [], max(0, until - time.monotonic()))[0]:
        chunk = os.read(0, 1 << 16)
        if not chunk:
            break
        size += len(chunk)
        # The rest is read, too: a host may take a closed pipe for a fault. What is cut is no JSON.
        if size <= INPUT_MAX_BYTES:
            read.append(chunk)
    else:
        raise TimeoutError
    given = json.loads(b"".join(read))
    if not isinstance(given, dict):
        raise TypeError
    return given


def _question(
    argv: Sequence[str], given: dict[str, Any], environ: Mapping[str, str]
) -> dict[str, Any] | None:
    """Return what the listener is asked; None if this event is not one for a word about mail."""
    host, event = argv
    form = FORMS.get(host)
    if form is None or event not in form.events or environ.get(form.void):
        return None
    session, stops = form.session(given), event.lower() == "stop"
    # A word at every end would never let a turn end; a subagent's inbox is not its own.
    if not session or (stops and form.again(given)) or given.get("agent_id"):
        return None
    environ = dict(environ)
    environ.setdefault("AGENTBUS_HOST", host)
    home = _noted_home(environ.get("CLAUDE_PLUGIN_DATA", ""))
    if home:
        environ.setdefault("AGENTBUS_HOME", home)
    return {
        "op": "mail",
        "host": host,
        "session": session,
        "urgent": stops,
        "looked": _looked(given),
        "folder": form.folder(given, environ) or _working_folder(environ),
        "environ": environ,
    }


def _working_folder(environ: Mapping[str, str]) -> str:
    """Return the working folder; where it is gone, what it was called."""
    try:
        return os.getcwd()
    except OSError:
        return environ.get("PWD", "/")


def _noted_home(data: str) -> str:
    """Return the bus folder that was noted as the plugin was installed, as its server reads it."""
    if data:
        try:
            note = os.open(f"{data}/program", os.O_RDONLY | os.O_NONBLOCK)  # a pipe may be there
            try:
                home = (*os.read(note, _NOTE_MAX_BYTES).decode().split("\n"), "", "")[1]
            finally:
                os.close(note)
        except (OSError, ValueError):
            return ""
        if os.path.isabs(home):
            return home
    return ""


def _looked(given: dict[str, Any]) -> bool:
    """Tell whether the model has just been told by a tool what waits."""
    calls = given.get("tool_calls") or [given]
    names = [str(call.get("tool_name", "")) for call in calls if isinstance(call, dict)]
    return any(name.endswith(_LOOKS) for name in names)


def _ask(question: dict[str, Any]) -> tuple[str, str]:
    """Return what the listener wants to be said to the model, and to a person; empty if nothing."""
    environ = question["environ"]
    until = time.monotonic() + ASK_TIMEOUT_S
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ASK_TIMEOUT_S)
        _connect(connection, runtime_folder(environ) + "/listener.sock")
        line = json.dumps({**question, "environ": variables(environ)}, separators=(",", ":"))
        connection.sendall(line.encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            connection.settimeout(max(0.001, until - time.monotonic()))
            chunk = connection.recv(ANSWER_MAX_BYTES)
            answer += chunk
            if not chunk or len(answer) > ANSWER_MAX_BYTES or time.monotonic() > until:
                return "", ""
    said = json.loads(answer)
    return _line(said.get("text")), _line(said.get("person"))


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the listener is told of the environment, as `relay.carried.words` of the package.

    AGENTBUS_TOKEN is a server's, which nobody else is told.
    """
    sent = {
        name: value
        for name, value in environ.items()
        if name.startswith(_SENT) and name != "AGENTBUS_TOKEN"
    }
    if sent.get("AGENTBUS_HOME"):  # the listener has another working folder
        sent["AGENTBUS_HOME"] = os.path.abspath(os.path.expanduser(sent["AGENTBUS_HOME"]))
    return sent


def _line(said: object) -> str:
    """Return what is said, if it is one line of text, else nothing."""
    return said if isinstance(said, str) and len(said.splitlines()) == 1 else ""


def _connect(connection: socket.socket, path: str) -> None:
    """Connect to a listener of this user; raises OSError if none, or somebody else's, is there."""
    if len(os.fsencode(path)) <= _PATH_MAX_BYTES or sys.platform != "linux":
        connection.connect(path)
    else:
        folder, _, name = path.rpartition("/")
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        connection.connect(f"/proc/self/fd/{descriptor}/{name}")
        os.close(descriptor)
    if sys.platform == "linux":  # struct ucred: pid, uid, gid
        peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    else:  # macOS, struct xucred: version, uid, groups
        peer = connection.getsockopt(0, 1, 80)
    if int.from_bytes(peer[4:8], sys.byteorder) != os.getuid():
        raise PermissionError


def runtime_folder(environ: Mapping[str, str]) -> str:
    """Return the folder of this user's listener, as `core.places` of the package does."""
    if environ.get("AGENTBUS_HOME"):
        return os.path.abspath(os.path.expanduser(environ["AGENTBUS_HOME"])) + "/run"
    for folder in (environ.get("XDG_RUNTIME_DIR", ""), f"{_USERS}/{os.getuid()}"):
        try:
            if folder.startswith("/") and os.stat(folder).st_uid == os.getuid():
                return f"{folder}/agentbus"
        except OSError:
            pass
    return os.path.join(_state_folder(environ), "agentbus", "run")


def _state_folder(environ: Mapping[str, str]) -> str:
    """Return the platform's folder for what outlives a reboot."""
    if environ.get("XDG_STATE_HOME", "").startswith("/"):
        return environ["XDG_STATE_HOME"]
    home = environ.get("HOME", "")
    if not home.startswith("/"):
        import pwd  # noqa: PLC0415  # few need it

        home = pwd.getpwuid(os.getuid()).pw_dir
    below = "Library/Application Support" if sys.platform == "darwin" else ".local/state"
    return f"{home.rstrip('/')}/{below}"


if __name__ == "__main__":
    # Nothing is left to be done; taking the modules down would take a tenth of the time.
    os._exit(main(sys.argv[1:]))
