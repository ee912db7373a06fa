# SPDX-License-Identifier: Apache-2.0
"""OpenClaw: an entry for the server, the skill, and the token by which its gateway is woken.

    >>> [step.what for step in install(machine)]
    ["make OpenClaw the agent openclaw: run `openclaw mcp set ...`", 'copy the skill to ...', ...]

OpenClaw writes its own openclaw.json, by its own commands; the token goes to them on standard
input. Its first write of a file that was written by hand takes the comments out of it. What
`uninstall` leaves is byte for byte what was there, if OpenClaw had written the file before.
"""

from __future__ import annotations

import contextlib
import filecmp
import json
import platform
import shlex
import shutil
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from mcp_agentbus import config
from mcp_agentbus.errors import BadSetup

from . import _entry, _openclaw_hooks
from . import _openclaw_config as _config
from ._entry import SERVER
from .steps import Machine, Step

NAME: Final = "openclaw"
SKILL: Final = "using-agentbus"
#: OpenClaw ends a call after this, whatever progress it tells; its own value is 60 s.
_CALL_LIMIT_MS: Final = 120_000
_TOOLS: Final = ("list_agents", "publish_result", "read_inbox", "send_task", "watch_inbox")
_GUARDED_BYTES: Final = 512
# What an empty table, a comma or a line's end may make of an estimate.
_MARGIN_BYTES: Final = 24
_NEEDS: Final = (
    "Put `openclaw` on PATH (npm install -g openclaw) with a Node.js that it takes: 24.16 or newer."
)

FolderOf = Callable[[], Path]
gateway = _openclaw_hooks.gateway


def found(machine: Machine) -> str | None:
    """Return OpenClaw's version and where it is; None if it is not here or does not run."""
    program = machine.program("openclaw")
    if program is None:
        return None
    try:
        said = machine.run([program, "--version"]).split()
    except BadSetup:  # mostly a Node.js that is too old for it
        return None
    version = next((word for word in said if word[:1].isdigit()), "")  # after its own name
    return f"OpenClaw {version}".rstrip() + f", {program}"


def install(
    machine: Machine, skill_folder: FolderOf | None = None, *, agent: str | None = None
) -> list[Step]:
    """Return the steps that connect OpenClaw and let its gateway be woken.

    Args:
        machine: where to work.
        skill_folder: gives the folder of the skill; the one that came along if not given.
        agent: who its sessions are; else whom the entry names, else `openclaw`.

    Raises:
        BadSetup: OpenClaw is not here or does not run.
    """
    program = _program(machine)
    before = _server(machine, program)
    entry = _wanted(machine, before, agent)
    name = _agent_of(entry)
    file = _openclaw_hooks.token_file(machine)
    return [
        _set_server(machine, program, before, entry),
        _copy_skill(machine, skill_folder or _packaged_skill),
        Step(
            f"run `openclaw config patch --stdin`: hooks.enabled, and a fresh hooks.token unless "
            f"there is one; keep the token in {file} (0600)",
            lambda: _openclaw_hooks.switch_on(machine, program, name),
        ),
    ]


def uninstall(machine: Machine) -> list[Step]:
    """Return the steps that take out what `install` put in, and nothing else.

    Where OpenClaw itself is gone but its file is not, the steps that change that file fail.
    """
    text = _config.text(_config.config_file(machine))
    kept = _config.text(_openclaw_hooks.token_file(machine)).strip()
    document = _config.parsed(text)
    steps = [_removal(_skill_file(machine))]
    # In a file that was written by hand only OpenClaw finds its way: it is asked then.
    if SERVER in (_config.table(document, "mcp", "servers") if document else text):
        steps.append(
            Step(f"run `openclaw mcp unset {SERVER}`", lambda: _unset_server(machine)),
        )
    if _openclaw_hooks.is_ours(_config.table(document, "hooks").get("token")) or (
        _openclaw_hooks.is_ours(kept) and kept in text
    ):
        steps.append(
            Step(
                "run `openclaw config patch --stdin`: no hooks.token, no hooks.enabled",
                lambda: _openclaw_hooks.switch_off(machine, lambda: _program(machine)),
            )
        )
    steps.append(_removal(_openclaw_hooks.token_file(machine)))
    return [step for step in steps if step]


def verify(machine: Machine) -> str:
    """Have OpenClaw start the server and list its tools; say so.

    Raises:
        BadSetup: it could not, or not all five tools are there.
    """
    hint = f"Try {shlex.join([*machine.agentbus, 'serve'])} by hand, and `openclaw mcp doctor`."
    program = _program(machine)
    try:
        said = machine.run([program, "mcp", "probe", SERVER, "--json"])
    except BadSetup as error:
        raise BadSetup(error.message, hint=hint) from None
    tools = _config.parsed(said).get("tools", [])
    missing = [tool for tool in _TOOLS if f"{SERVER}__{tool}" not in tools]
    if missing:
        raise BadSetup(f"OpenClaw does not see {', '.join(missing)}.", hint=hint)
    agent = _agent_of(_server(machine, program))
    known = f" as agent {agent}" if agent else ""
    return f"OpenClaw started agentbus{known} and lists its {len(_TOOLS)} tools"


def _program(machine: Machine) -> str:
    """Return OpenClaw's program.

    Raises:
        BadSetup: it is not here, or does not run.
    """
    program = machine.program("openclaw")
    if program is None:
        raise BadSetup("OpenClaw is not on PATH.", hint=_NEEDS)
    try:
        machine.run([program, "--version"])
    except BadSetup:
        raise BadSetup(f"`{program} --version` fails.", hint=_NEEDS) from None
    return program


def _server(machine: Machine, program: str) -> dict[str, Any]:
    """Return the server's entry as it is now; empty if there is none."""
    text = _config.text(_config.config_file(machine))
    document = _config.parsed(text)
    if document or SERVER not in text:
        return _config.table(document, "mcp", "servers", SERVER)
    # In a file that was written by hand only OpenClaw finds its way.
    said = machine.run([program, "mcp", "list", "--json"])
    return _config.table(_config.parsed(said), SERVER)


def _wanted(machine: Machine, before: dict[str, Any], agent: str | None) -> dict[str, Any]:
    """Return the server's entry, which says who its sessions are: no folder here tells that."""
    # An entry with a folder leaves it to the .agentbus.toml there.
    if agent is None and _entry.agent_of(before) is None and not before.get("cwd"):
        agent = _default_agent(machine)
    return _entry.made(machine, before, agent=agent, host=NAME, requestTimeoutMs=_CALL_LIMIT_MS)


def _default_agent(machine: Machine) -> str:
    """Return the one that `agent add` has set up for OpenClaw, else `openclaw`.

    Where others may be of that name it says which: the machine on a shared bus, and the profile.
    """
    set_up = [name for name, rules in machine.settings.rules.items() if rules.host == NAME]
    if len(set_up) == 1:
        return set_up[0]
    shared = platform.node().partition(".")[0] if machine.settings.url else ""
    profile = _config.profile(machine)
    words = [shared, "" if profile == _config.DEFAULT_PROFILE else profile]
    more = "-".join(word for word in words if word)
    return config.default_id(Path(more), NAME) if more else NAME


def _agent_of(entry: dict[str, Any]) -> str:
    """Return who the sessions of an entry are; nothing if it leaves that to OpenClaw's folder."""
    if named := _entry.agent_of(entry):
        return named
    if not (folder := entry.get("cwd")):
        return ""
    # OpenClaw starts it with little more of an environment than what the entry says.
    bare = config.load({"AGENTBUS_HOST": NAME}, text="")
    return config.who(bare, folder=Path(str(folder))).id


def _set_server(
    machine: Machine, program: str, before: dict[str, Any], entry: dict[str, Any]
) -> Step:
    argv, stdin = ["mcp", "set", SERVER, json.dumps(entry)], ""
    what = f"run `{shlex.join(['openclaw', *argv])}`"
    if _entry.variables(entry):  # they may be secret, and other users see a process's arguments
        env = {**dict.fromkeys(_config.table(before, "env")), **entry["env"]}  # null takes out
        argv = ["config", "patch", "--stdin"]
        stdin = json.dumps({"mcp": {"servers": {SERVER: {**entry, "env": env}}}})
        what = f"run `openclaw config patch --stdin`: mcp.servers.{SERVER}"

    def do() -> str:
        if entry == before:
            return "it is there already"
        machine.run([program, *argv], stdin=stdin)
        return ""

    return Step(f"make OpenClaw the agent {_agent_of(entry)}: {what}", do)


def _unset_server(machine: Machine) -> str:
    program = _program(machine)
    if SERVER not in _config.parsed(machine.run([program, "mcp", "list", "--json"])):
        return "it was not there"
    for entry in _smaller_entries(_config.text(_config.config_file(machine))):
        machine.run([program, "mcp", "set", SERVER, json.dumps(entry)])
    machine.run([program, "mcp", "unset", SERVER])
    return ""


def _smaller_entries(text: str) -> Iterator[dict[str, Any]]:
    """Yield what to set the entry to, one after the other, before it can be taken out.

    OpenClaw refuses a write that makes a file of 512 bytes or more smaller than its half, and in
    a file with little else the entry is the larger half.
    """
    document = _config.parsed(text)
    size = len(text.encode())
    servers = _config.table(document, "mcp", "servers")
    servers.pop(SERVER, None)
    rest = _size(document)
    while document and size >= _GUARDED_BYTES and rest < size // 2 + _MARGIN_BYTES:
        entry = {"enabled": False, "command": ""}
        servers[SERVER] = entry
        size = size // 2 + 2 * _MARGIN_BYTES
        entry["command"] = "-" * max(1, size - _size(document))
        yield entry


def _size(document: dict[str, Any]) -> int:
    return len(json.dumps(document, indent=2, ensure_ascii=False).encode())


def _copy_skill(machine: Machine, skill_folder: FolderOf) -> Step:
    target = _skill_file(machine)

    def do() -> str:
        source = skill_folder()
        if _same(source, target):
            return "it is there already"
        try:
            _remove(target)
            shutil.copytree(source, target)
        except OSError as error:
            raise BadSetup(f"{target} cannot be written: {error.strerror}.") from None
        return ""

    return Step(f"copy the skill to {target}", do)


def _packaged_skill() -> Path:
    # Imported late: only what copies the skill needs it.
    return Path(import_module("mcp_agentbus.assets").skill_folder())


def _same(source: Path, target: Path) -> bool:
    """Tell whether two folders hold the same files."""
    if target.is_symlink() or not target.is_dir():
        return False
    names = [
        {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
        for folder in (source, target)
    ]
    return names[0] == names[1] and all(
        filecmp.cmp(source / name, target / name, shallow=False) for name in names[0]
    )


def _skill_file(machine: Machine) -> Path:
    return _config.state_folder(machine) / "skills" / SKILL


def _removal(path: Path) -> Step | None:
    there = path.exists() or path.is_symlink()
    return Step(f"remove {path}", lambda: _remove(path)) if there else None


def _remove(path: Path) -> str:
    """Remove a file, a link or a folder, and the folder around it if that is empty then.

    Raises:
        BadSetup: it cannot be removed.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise BadSetup(f"{path} cannot be removed: {error.strerror}.") from None
    with contextlib.suppress(OSError):  # something else is in it
        path.parent.rmdir()
    return ""
