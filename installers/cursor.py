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

from mcp_agentbus.installers._parts import edit, entry, probe, skill
from mcp_agentbus.installers._parts.edit import Piece
from mcp_agentbus.installers._parts.entry import SERVER
from mcp_agentbus.installers.steps import Machine, Step

from mcp_agentbus.core import places
from mcp_agentbus.core.files import HOSTS_MAX_BYTES, read_whole
from mcp_agentbus.errors import BadSetup

NAME: Final = "cursor"
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


def install(
    machine: Machine, source: Path | None = None, *, agent: str | None = None
) -> list[Step]:
    """Return the steps that connect Cursor.

    Args:
        machine: where to work.
        source: the folder of the skill; the one that came along if not given.
        agent: who Cursor's sessions are; else whom the entry names, else each folder tells.
    """
    files = _files(machine, agent)
    steps = [_writing(path, pieces) for path, pieces in files if _is_for(path)]
    return [
        *steps,
        skill.copying(_folder_of(machine), source),
        Step("show a link that adds the server by a click", lambda: deeplink(machine, agent)),
    ]


def uninstall(machine: Machine) -> list[Step]:
    """Return the steps that take out what is there of `install`, and leave nothing of it."""
    steps = [
        _removing(path, pieces)
        for path, pieces in reversed(_files(machine))
        if _has_any(path, pieces) or edit.record_of(path).exists()
    ]
    return [*skill.removals(_folder_of(machine)), *steps]


def gone(machine: Machine) -> str:
    """Return the program that our entry or a hook of ours starts, if that is gone; or nothing."""
    if program := entry.gone(_entry_there(machine)):
        return program
    for element in _hooks_there(machine):
        words = shlex.split(element["command"])
        if words[0] == "/usr/bin/env":
            words = [word for word in words[1:] if "=" not in word]
        if words[0].startswith("/") and not Path(words[0]).exists():
            return words[0]
    return ""


def renewal(machine: Machine) -> list[Step]:
    """Return the steps that connect it anew, as `install`."""
    return install(machine)[:-1]  # nobody clicks a link


def verify(machine: Machine) -> str:
    """See that the files say what Cursor is documented to read, and that the server answers.

    Cursor itself is not asked: its app has no command for that, and its CLI needs a login.

    Raises:
        BadSetup: an entry or the skill is missing or not as `install` writes it, or the server does
            not answer.
    """
    for path, pieces in _files(machine):
        if _is_for(path) and not edit.holds(path, *pieces):
            there = {"mcp.json": _entry_there, "hooks.json": _hooks_there}.get(path.name)
            what = f"{_named(pieces)} of an earlier agentbus, or changed since"
            is_there = there is not None and there(machine)
            said = f"has {what}" if is_there else f"lacks {_named(pieces)}"
            raise BadSetup(f"{path} {said}.", hint=_AGAIN)
    copied = skill.place(_folder_of(machine))
    if not (copied / "SKILL.md").is_file():
        raise BadSetup(f"{copied} has no skill.", hint=_AGAIN)
    answers = probe.check(*probe.started(_server(machine), machine.environ), machine.left_s)
    return f"{_folder_of(machine)} has server, hooks and skill; {answers}; Cursor was not asked"


def deeplink(machine: Machine, agent: str | None = None) -> str:
    """Return a link with which Cursor offers to add the server; its user confirms.

    Nothing is in it that the user has added to the entry, as it is printed, and that may be secret.
    """
    agent = entry.agent_of(_server(machine, agent))
    server = entry.made(machine, agent=agent, host=NAME, type="stdio")
    config = base64.b64encode(json.dumps(server).encode()).decode()
    path = "cursor://anysphere.cursor-deeplink/mcp/install"
    return f"{path}?name={SERVER}&config={quote(config, safe='')}"


def _files(machine: Machine, agent: str | None = None) -> list[tuple[Path, tuple[Piece, ...]]]:
    """Return our pieces, by the file they belong into."""
    folder = _folder_of(machine)
    server = _server(machine, agent)
    who = entry.agent_of(server) or ""
    hooks = [Piece(("hooks", event), _hook(machine, event, who), ours=_is_ours) for event in EVENTS]
    return [
        (folder / "mcp.json", (Piece(("mcpServers", SERVER), server),)),
        (folder / "hooks.json", (Piece(("version",), 1, default=True), *hooks)),
        (
            folder / "cli-config.json",
            (Piece(("permissions", "allow"), PERMISSION, ours=PERMISSION.__eq__),),
        ),
    ]


def _is_for(path: Path) -> bool:
    # The CLI's own file, in which it requires more than we know of: it is only added to.
    return path.name != "cli-config.json" or path.is_symlink() or path.exists()


def _server(machine: Machine, agent: str | None = None) -> dict[str, Any]:
    """Return the server's entry; an id that its user has put into one of ours stays."""
    before = _entry_there(machine)
    return entry.made(machine, before, agent=agent, host=NAME, type="stdio")


def _entry_there(machine: Machine) -> dict[str, Any]:
    """Return our entry as it is; empty without one, or if the file cannot be edited."""
    try:
        server = edit.document(_folder_of(machine) / "mcp.json")["mcpServers"][SERVER]
    except (BadSetup, LookupError, TypeError):
        return {}  # whoever writes it says what is wrong
    return server if isinstance(server, dict) and entry.is_ours(server) else {}


def _hooks_there(machine: Machine) -> list[dict[str, Any]]:
    """Return our hooks as they are; none if the file cannot be edited."""
    try:
        there = edit.document(_folder_of(machine) / "hooks.json")["hooks"]
        hooks = [each for event in EVENTS for each in there.get(event, ())]
    except (BadSetup, LookupError, TypeError, AttributeError):
        return []
    return list(filter(_is_ours, hooks))


def _hook(machine: Machine, event: str, agent: str) -> dict[str, Any]:
    words = [*machine.agentbus, "hook", NAME, event]
    # It speaks for whom the entry names. Cursor fills in ${...} in an entry, and not here.
    who = "" if "${" in agent else agent
    env = {"AGENTBUS_HOME": places.home(machine.environ), "AGENTBUS_AGENT": who}
    if given := [f"{name}={value}" for name, value in env.items() if value]:
        # A hook has no `env` of its own; this works with and without a shell.
        words = ["/usr/bin/env", *given, *words]
    # Cursor documents `command` as one string, with examples of paths and of commands with
    # arguments, and not by whom it is split. Quoted for sh where it has to be, and bare where not,
    # it means the same to a shell and to a split at spaces.
    command = subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)
    limit = {"loop_limit": _LOOP_LIMIT} if event == "stop" else {}
    return {"command": command, "timeout": _HOOK_TIMEOUT_S, **limit}


def _is_ours(element: Any) -> bool:
    command = element.get("command") if isinstance(element, dict) else None
    return isinstance(command, str) and _OURS.fullmatch(command) is not None


def _has_any(path: Path, pieces: tuple[Piece, ...]) -> bool:
    """Tell whether a file has anything of ours; one that cannot be edited, if it names us."""
    try:
        return edit.has_any(path, *pieces)
    except BadSetup:
        try:
            return SERVER.encode() in read_whole(path, HOSTS_MAX_BYTES)
        except OSError:
            return True


def _writing(path: Path, pieces: tuple[Piece, ...]) -> Step:
    def do() -> str:
        return "" if edit.merge(path, *pieces) else "it is there already"

    return Step(f"write {path}: {_named(pieces)}", do)


def _removing(path: Path, pieces: tuple[Piece, ...]) -> Step:
    def do() -> str:
        return "" if edit.remove(path, *pieces) else "nothing of agentbus is there"

    if not (path.is_symlink() or path.exists()):
        return Step(f"remove {edit.record_of(path)}", do, clears=True)
    return Step(f"take {_named(pieces)} out of {path}", do)


def _named(pieces: tuple[Piece, ...]) -> str:
    return ", ".join(".".join(piece.keys) for piece in pieces if not piece.default)


def _folder_of(machine: Machine) -> Path:
    return machine.home / ".cursor"
