# SPDX-License-Identifier: Apache-2.0
"""OpenClaw: an entry for the server, the skill, and the token by which its gateway is woken.

    >>> [step.what for step in install(machine)]
    ["run `openclaw mcp set agentbus '{...}'`", 'copy the skill to ~/.openclaw/skills/...', ...]

OpenClaw writes its own openclaw.json, by its own commands; the token goes to them on standard
input. Its first write of a file that was written by hand takes the comments out of it. What
`uninstall` leaves is byte for byte what was there, if OpenClaw had written the file before.
"""

from __future__ import annotations

import contextlib
import filecmp
import json
import os
import secrets
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.installers.steps import Machine, Step

from mcp_agentbus import places
from mcp_agentbus.errors import BadSetup

NAME: Final = "openclaw"
SKILL: Final = "using-agentbus"
_ENTRY: Final = "agentbus"
#: OpenClaw ends a call after this, whatever progress it tells; its own value is 60 s.
_CALL_LIMIT_MS: Final = 120_000
_TOOLS: Final = ("list_agents", "publish_result", "read_inbox", "send_task", "watch_inbox")
#: A token of ours begins so: how `uninstall` knows that the hooks were off before.
_OURS: Final = "agentbus-"
_HOOKS_PATH: Final = "/hooks"
_PORT: Final = 18789
_GUARDED_BYTES: Final = 512
# What an empty table, a comma or a line's end may make of an estimate.
_MARGIN_BYTES: Final = 24
_NEEDS: Final = (
    "Put `openclaw` on PATH (npm install -g openclaw) with a Node.js that it takes: 24.16 or newer."
)

FolderOf = Callable[[], Path]


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


def install(machine: Machine, skill_folder: FolderOf | None = None) -> list[Step]:
    """Return the steps that connect OpenClaw and let its gateway be woken.

    Args:
        machine: where to work.
        skill_folder: gives the folder of the skill; the one that came along if not given.

    Raises:
        BadSetup: OpenClaw is not here or does not run.
    """
    program = _program(machine)
    return [
        _set_server(machine, program),
        _copy_skill(machine, skill_folder or _packaged_skill),
        Step(
            f"run `openclaw config patch --stdin`: hooks.enabled, and a fresh hooks.token unless "
            f"there is one; keep the token in {_token_file(machine)} (0600)",
            lambda: _set_hooks(machine, program),
        ),
    ]


def uninstall(machine: Machine) -> list[Step]:
    """Return the steps that take out what `install` put in, and nothing else.

    Where OpenClaw itself is gone but its file is not, the steps that change that file fail.
    """
    text = _text(_config_file(machine))
    kept = _text(_token_file(machine)).strip()
    document = _parsed(text)
    steps = [_removal(_skill_file(machine))]
    # In a file that was written by hand only OpenClaw finds its way: it is asked then.
    if _ENTRY in (_table(document, "mcp", "servers") if document else text):
        steps.append(
            Step(f"run `openclaw mcp unset {_ENTRY}`", lambda: _unset_server(machine)),
        )
    if _is_ours(_table(document, "hooks").get("token")) or (_is_ours(kept) and kept in text):
        steps.append(
            Step(
                "run `openclaw config patch --stdin`: no hooks.token, no hooks.enabled",
                lambda: _unset_hooks(machine),
            )
        )
    steps.append(_removal(_token_file(machine)))
    return [step for step in steps if step]


def verify(machine: Machine) -> str:
    """Have OpenClaw start the server and list its tools; say so.

    Raises:
        BadSetup: it could not, or not all five tools are there.
    """
    hint = f"Try {shlex.join([*machine.agentbus, 'serve'])} by hand, and `openclaw mcp doctor`."
    try:
        said = machine.run([_program(machine), "mcp", "probe", _ENTRY, "--json"])
    except BadSetup as error:
        raise BadSetup(error.message, hint=hint) from None
    tools = _parsed(said).get("tools", [])
    missing = [tool for tool in _TOOLS if f"{_ENTRY}__{tool}" not in tools]
    if missing:
        raise BadSetup(f"OpenClaw does not see {', '.join(missing)}.", hint=hint)
    return f"OpenClaw started agentbus and lists its {len(_TOOLS)} tools"


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


def _set_server(machine: Machine, program: str) -> Step:
    before = _table(_parsed(_text(_config_file(machine))), "mcp", "servers", _ENTRY)
    entry = _entry(machine, before)
    argv = [program, "mcp", "set", _ENTRY, json.dumps(entry)]

    def do() -> str:
        if entry == before:
            return "it is there already"
        machine.run(argv)
        return ""

    return Step(f"run `{shlex.join(['openclaw', *argv[1:]])}`", do)


def _entry(machine: Machine, before: dict[str, Any]) -> dict[str, Any]:
    """Return the server's entry; what the user has added to it stays."""
    command, *args = [*machine.agentbus, "serve"]
    given = before.get("args")
    if isinstance(given, list) and given[: len(args)] == args:
        args = given  # such as `--agent claw`: another id would be another inbox
    env = {key: value for key, value in _table(before, "env").items() if key != "AGENTBUS_HOME"}
    if home := places.home(machine.environ):
        env["AGENTBUS_HOME"] = home
    entry = {"requestTimeoutMs": _CALL_LIMIT_MS, **before, "command": command, "args": args}
    entry.pop("env", None)
    return {**entry, "env": env} if env else entry


def _unset_server(machine: Machine) -> str:
    program = _program(machine)
    if _ENTRY not in _parsed(machine.run([program, "mcp", "list", "--json"])):
        return "it was not there"
    for entry in _smaller_entries(_text(_config_file(machine))):
        machine.run([program, "mcp", "set", _ENTRY, json.dumps(entry)])
    machine.run([program, "mcp", "unset", _ENTRY])
    return ""


def _smaller_entries(text: str) -> Iterator[dict[str, Any]]:
    """Yield what to set the entry to, one after the other, before it can be taken out.

    OpenClaw refuses a write that makes a file of 512 bytes or more smaller than its half, and in
    a file with little else the entry is the larger half.
    """
    document = _parsed(text)
    size = len(text.encode())
    servers = _table(document, "mcp", "servers")
    servers.pop(_ENTRY, None)
    rest = _size(document)
    while document and size >= _GUARDED_BYTES and rest < size // 2 + _MARGIN_BYTES:
        entry = {"enabled": False, "command": ""}
        servers[_ENTRY] = entry
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


def _set_hooks(machine: Machine, program: str) -> str:
    """See that the gateway takes wakes with a token that we know; say what comes next."""
    document = _parsed(_text(_config_file(machine)))
    hooks = _table(document, "hooks")
    file = _token_file(machine)
    token = hooks.get("token")
    # Read whole, and only here: a token that names a variable, or stands in an included file.
    if "$include" in {*document, *hooks} or (
        token is not None and (not isinstance(token, str) or "${" in token)
    ):
        return f"openclaw.json does not hold hooks.token itself: put it into {file}, mode 0600"
    # Hooks with a token of the user's, or off by the user's word, stay as they are.
    if hooks.get("enabled") is not True and (token or "enabled" in hooks):
        return "hooks.enabled is not true, and stays so: no wake reaches OpenClaw before it is"
    if not token:
        kept = _text(file).strip()
        token = kept if _is_ours(kept) else _OURS + secrets.token_urlsafe(32)
        # First here: should the next line fail, the next try takes the same token.
        _write_private(file, f"{token}\n")
        _patch(machine, program, {"hooks": {"enabled": True, "token": token}})
    else:
        _write_private(file, f"{token}\n")
    path = hooks.get("path", _HOOKS_PATH)
    if str(path).strip("/") != _HOOKS_PATH.strip("/"):
        return f"hooks.path is {path!r}: no wake reaches OpenClaw before it is {_HOOKS_PATH!r}"
    add = ["agentbus", "agent", "add", "ID", "--host", NAME, "--wake", "work"]
    port = _table(document, "gateway").get("port", _PORT)
    if port != _PORT:
        add += ["--gateway-url", f"http://127.0.0.1:{port}"]
    return f"to let it be woken: {shlex.join([*add, '--token-file', str(file)])}"


def _unset_hooks(machine: Machine) -> str:
    hooks = _table(_parsed(_text(_config_file(machine))), "hooks")
    if not _is_ours(hooks.get("token")):
        return "hooks.token is another one now, and stays"
    # The whole table if nothing else is in it. Without a token hooks are off, so an `enabled`
    # that stood there before had done nothing.
    alone = not set(hooks) - {"enabled", "token"}
    return _patch(
        machine, _program(machine), {"hooks": None if alone else {"enabled": None, "token": None}}
    )


def _patch(machine: Machine, program: str, patch: dict[str, Any]) -> str:
    """Change openclaw.json; the text goes through standard input, which no process list shows."""
    machine.run([program, "config", "patch", "--stdin"], stdin=json.dumps(patch))
    return ""


def _is_ours(token: object) -> bool:
    return isinstance(token, str) and token.startswith(_OURS)


def _state_folder(machine: Machine) -> Path:
    if given := machine.environ.get("OPENCLAW_STATE_DIR"):
        return _expanded(machine, given)
    home = machine.environ.get("OPENCLAW_HOME")
    profile = machine.environ.get("OPENCLAW_PROFILE", "default")
    name = ".openclaw" if profile == "default" else f".openclaw-{profile}"
    return (_expanded(machine, home) if home else machine.home) / name


def _config_file(machine: Machine) -> Path:
    given = machine.environ.get("OPENCLAW_CONFIG_PATH")
    return _expanded(machine, given) if given else _state_folder(machine) / "openclaw.json"


def _expanded(machine: Machine, path: str) -> Path:
    return machine.home / path[2:] if path.startswith("~/") else Path(path)


def _skill_file(machine: Machine) -> Path:
    return _state_folder(machine) / "skills" / SKILL


def _token_file(machine: Machine) -> Path:
    return machine.settings.config_file.parent / "openclaw-hooks.token"


def _text(file: Path) -> str:
    """Return what a file holds; nothing if it is not there.

    Raises:
        BadSetup: it cannot be read.
    """
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise BadSetup(f"{file} cannot be read: {error.strerror}.") from None


def _parsed(text: str) -> dict[str, Any]:
    """Return a document; empty if it is none, or written by hand with comments in it."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _table(document: dict[str, Any], *keys: str) -> dict[str, Any]:
    for key in keys:
        inner = document.get(key)
        document = inner if isinstance(inner, dict) else {}
    return document


def _write_private(file: Path, text: str) -> None:
    """Write a file that only this user may read, all of it or none of it.

    Raises:
        BadSetup: it cannot be written.
    """
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made with mode 0600.
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as temporary:
                temporary.write(text)
            Path(name).replace(file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise BadSetup(f"{file} cannot be written: {error.strerror}.") from None


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
