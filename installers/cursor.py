# SPDX-License-Identifier: Apache-2.0
"""Connects Cursor, the app and its CLI: server, hooks, skill and the CLI's permission.

    >>> [step.what for step in install(machine)][0]
    'write /home/me/.cursor/mcp.json: mcpServers.agentbus'

Everything is in the user's `.cursor` folder, beside what others have there, and goes out of it
again byte for byte. No project's folder is touched, and Cursor itself is not started.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from mcp_agentbus import places
from mcp_agentbus.errors import BadSetup

from . import _edit, _entry, _folder, _probe
from ._edit import Entry
from ._entry import SERVER
from .steps import Machine, Step

NAME: Final = "cursor"
SKILL: Final = "using-agentbus"
#: The events at which Cursor takes text for the model: at the start, between, and at the end.
EVENTS: Final = ("sessionStart", "postToolUse", "stop")
PERMISSION: Final = f"Mcp({SERVER}:*)"
# Seconds; a hook needs a tenth of one, and Cursor goes on without it.
_HOOK_TIMEOUT_S: Final = 10
# How often in a row mail may go on with a conversation that has ended; Cursor's own value, too.
_LOOP_LIMIT: Final = 5
_OURS: Final = re.compile(r".*agentbus(?:\.exe)?['\"]? hook cursor \w+", re.DOTALL)
_AGAIN: Final = f"Run `agentbus install {NAME}`."


def found(machine: Machine) -> str | None:
    """Return one line about Cursor if it is there. It is not started: the app would open."""
    for name in ("cursor", "cursor-agent"):
        if program := machine.program(name):
            return f"Cursor, {program}"
    folder = _folder_of(machine)
    return f"Cursor, {folder}" if folder.is_dir() else None


def install(machine: Machine, skill: Path | None = None, *, agent: str | None = None) -> list[Step]:
    """Return the steps that connect Cursor.

    Args:
        machine: where to work.
        skill: the folder of the skill; the one that came along if not given.
        agent: who Cursor's sessions are; else whom the entry names, else each folder tells.
    """
    files = _files(machine, agent)
    steps = [_writing(path, entries) for path, entries in files if _is_for(path)]
    target = _skill_target(machine)

    def copy() -> str:
        return "" if _folder.copy(skill or _skill_source(), target) else "it is there already"

    return [
        *steps,
        Step(f"copy the skill {SKILL} to {target}", copy),
        Step("show a link that adds the server by a click", lambda: deeplink(machine, agent)),
    ]


def uninstall(machine: Machine) -> list[Step]:
    """Return the steps that take out what is there of `install`, and leave nothing of it."""
    target = _skill_target(machine)

    def remove() -> str:
        return "\n".join(_folder.remove(target))

    steps = [
        _removing(path, entries)
        for path, entries in reversed(_files(machine))
        if _has_any(path, entries)
    ]
    return [Step(f"remove {target}", remove), *steps] if _has_skill(target) else steps


def verify(machine: Machine) -> str:
    """See that the files say what Cursor is documented to read, and that the server answers.

    Cursor itself is not asked: its app has no command for that, and its CLI needs a login.

    Raises:
        BadSetup: an entry or the skill is missing, or the server does not answer.
    """
    for path, entries in _files(machine):
        if _is_for(path) and not _edit.holds(path, *entries):
            raise BadSetup(f"{path} lacks {_named(entries)}.", hint=_AGAIN)
    if not (_skill_target(machine) / "SKILL.md").is_file():
        raise BadSetup(f"{_skill_target(machine)} has no skill.", hint=_AGAIN)
    server = _server(machine)
    environ = {**machine.environ, **server.get("env", {})}
    answers = _probe.check([server["command"], *server["args"]], environ, machine.left_s)
    return f"{_folder_of(machine)} has server, hooks and skill; {answers}; Cursor was not asked"


def deeplink(machine: Machine, agent: str | None = None) -> str:
    """Return a link with which Cursor offers to add the server; its user confirms."""
    config = base64.b64encode(json.dumps(_server(machine, agent)).encode()).decode()
    path = "cursor://anysphere.cursor-deeplink/mcp/install"
    return f"{path}?name={SERVER}&config={quote(config, safe='')}"


def _files(machine: Machine, agent: str | None = None) -> list[tuple[Path, tuple[Entry, ...]]]:
    """Return our entries, by the file they belong into."""
    folder = _folder_of(machine)
    hooks = [Entry(("hooks", event), _hook(machine, event), ours=_is_ours) for event in EVENTS]
    return [
        (folder / "mcp.json", (Entry(("mcpServers", SERVER), _server(machine, agent)),)),
        (folder / "hooks.json", (Entry(("version",), 1, default=True), *hooks)),
        (
            folder / "cli-config.json",
            (Entry(("permissions", "allow"), PERMISSION, ours=PERMISSION.__eq__),),
        ),
    ]


def _is_for(path: Path) -> bool:
    # The CLI's own file, in which it requires more than we know of: it is only added to.
    return path.name != "cli-config.json" or path.is_symlink() or path.exists()


def _server(machine: Machine, agent: str | None = None) -> dict[str, Any]:
    """Return the server's entry; an id that its user has put into one of ours stays."""
    before = _entry_there(machine)
    return _entry.made(machine, before, agent=agent, host=NAME, type="stdio")


def _entry_there(machine: Machine) -> dict[str, Any]:
    """Return our entry as it is; empty without one, or if the file is not plain JSON."""
    try:
        document = json.loads((_folder_of(machine) / "mcp.json").read_text("utf-8-sig"))
        entry = document["mcpServers"][SERVER]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return {}  # whoever writes it says what is wrong
    return entry if isinstance(entry, dict) and "serve" in entry.get("args", []) else {}


def _hook(machine: Machine, event: str) -> dict[str, Any]:
    words = [*machine.agentbus, "hook", NAME, event]
    if home := places.home(machine.environ):
        # A hook has no `env` of its own; this works with and without a shell.
        words = ["/usr/bin/env", f"AGENTBUS_HOME={home}", *words]
    # Cursor documents `command` as one string, with examples of paths and of commands with
    # arguments, and not by whom it is split. Quoted for sh where it has to be, and bare where not,
    # it means the same to a shell and to a split at spaces.
    command = subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)
    limit = {"loop_limit": _LOOP_LIMIT} if event == "stop" else {}
    return {"command": command, "timeout": _HOOK_TIMEOUT_S, **limit}


def _is_ours(element: Any) -> bool:
    command = element.get("command") if isinstance(element, dict) else None
    return isinstance(command, str) and _OURS.fullmatch(command) is not None


def _has_any(path: Path, entries: tuple[Entry, ...]) -> bool:
    """Tell whether a file has anything of ours; one that cannot be edited, if it names us."""
    try:
        return _edit.has_any(path, *entries)
    except BadSetup:
        try:
            return SERVER.encode() in path.read_bytes()
        except OSError:
            return True


def _has_skill(target: Path) -> bool:
    try:
        return _folder.is_there(target)
    except BadSetup:
        return not target.is_symlink()  # a link is not ours


def _writing(path: Path, entries: tuple[Entry, ...]) -> Step:
    def do() -> str:
        return "" if _edit.merge(path, *entries) else "it is there already"

    return Step(f"write {path}: {_named(entries)}", do)


def _removing(path: Path, entries: tuple[Entry, ...]) -> Step:
    def do() -> str:
        return "" if _edit.remove(path, *entries) else "nothing of agentbus is there"

    return Step(f"take {_named(entries)} out of {path}", do)


def _named(entries: tuple[Entry, ...]) -> str:
    return ", ".join(".".join(entry.keys) for entry in entries if not entry.default)


def _folder_of(machine: Machine) -> Path:
    return machine.home / ".cursor"


def _skill_target(machine: Machine) -> Path:
    return _folder_of(machine) / "skills" / SKILL


def _skill_source() -> Path:
    # Imported late: only one step needs it.
    from mcp_agentbus.assets import skill_folder  # noqa: PLC0415

    return skill_folder()
