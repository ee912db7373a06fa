# SPDX-License-Identifier: Apache-2.0
"""OpenClaw: an entry for the server, the skill, and the token by which its gateway is woken.

    >>> [step.what for step in install(machine)]
    ["make OpenClaw the agent openclaw: run `openclaw config patch --stdin`: ...", 'copy ...', ...]

OpenClaw writes its own openclaw.json, by its own commands; the token goes to them on standard
input. Its first write of a file that was written by hand takes the comments out of it. What
`uninstall` leaves is byte for byte what was there, if OpenClaw had written the file before.
"""

from __future__ import annotations

import contextlib
import json
import platform
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.installers._parts import entry, files, openclaw_config, openclaw_hooks, skill
from mcp_agentbus.installers._parts.entry import SERVER
from mcp_agentbus.installers._parts.probe import TOOLS
from mcp_agentbus.installers.steps import Machine, Step

from mcp_agentbus.config import identity, spelling
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.core.text import seconds
from mcp_agentbus.errors import BadSetup
from mcp_agentbus.relay.options import WATCH_MAX_S

NAME: Final = openclaw_config.NAME
#: OpenClaw ends a call after this, whatever progress it tells; its own value is 60 s.
_CALL_LIMIT_MS: Final = 120_000
#: A wait for mail ends so long before that, so that its answer is there in time.
_ANSWERED_WITHIN_S: Final = 5
_WATCH_MAX: Final = "AGENTBUS_WATCH_MAX_S"
_GUARDED_BYTES: Final = 512
# What an empty table, a comma or a line's end may make of an estimate.
_MARGIN_BYTES: Final = 24
#: What `install` says in an entry; other keys are its user's.
_KEYS: Final = {"command", "args", "env", "requestTimeoutMs"}

gateway = openclaw_hooks.gateway


def found(machine: Machine) -> str | None:
    """Return OpenClaw's version and where it is; None if it is not here."""
    return machine.found(NAME, openclaw_config.TITLE)


def install(
    machine: Machine, source: Path | None = None, *, agent: str | None = None
) -> list[Step]:
    """Return the steps that connect OpenClaw and let its gateway be woken.

    Args:
        machine: where to work.
        source: the folder of the skill; the one that came along if not given.
        agent: who its sessions are; else whom the entry names, else `openclaw`.

    Raises:
        BadSetup: OpenClaw is not here or does not run, or an entry of that name starts something
            else.
    """
    openclaw_config.program(machine)
    before = openclaw_config.server(machine)
    if before and not entry.is_ours(before):
        raise BadSetup(
            f"OpenClaw has a server `{SERVER}` that does not start agentbus; it is left alone.",
            hint=f"`{openclaw_config.typed(machine, 'mcp', 'unset', SERVER)}` removes it; then run "
            "the command again.",
        )
    server = _wanted(machine, before, agent)
    name = _agent_of(server)
    file = openclaw_hooks.token_file(machine)
    return [
        _set_server(machine, before, server),
        skill.copying(openclaw_config.state_folder(machine), source),
        Step(
            f"with it hooks.enabled, and a fresh hooks.token unless there is one; keep the token "
            f"in {file} (0600)",
            lambda: openclaw_hooks.switch_on(machine, name),
        ),
    ]


def uninstall(machine: Machine) -> list[Step]:
    """Return the steps that take out what `install` put in, and nothing else.

    Where OpenClaw itself is gone but its file is not, the steps that change that file fail.
    """
    steps = skill.removals(openclaw_config.state_folder(machine))
    patch = openclaw_config.typed(machine, *openclaw_config.PATCH)
    if _has_server(machine):
        steps.append(
            Step(
                f"run `{patch}`: no mcp.servers.{SERVER}",
                lambda: _unset_server(machine),
            ),
        )
    if openclaw_hooks.is_on(machine):
        steps.append(
            Step(
                f"run `{patch}`: no hooks.token, no hooks.enabled",
                lambda: openclaw_hooks.switch_off(machine),
            )
        )
    token = openclaw_hooks.token_file(machine)
    if token.exists() or token.is_symlink():
        steps.append(Step(f"remove {token}", lambda: _remove(token)))
    return steps


def gone(machine: Machine) -> str:
    """Return the program that our entry starts, if it is not there any more; or nothing.

    Raises:
        BadSetup: as `openclaw_config.server`.
    """
    return entry.gone(openclaw_config.server(machine))


def renewal(machine: Machine) -> list[Step]:
    """Return the steps that connect it anew, as `install`."""
    return install(machine)


def verify(machine: Machine) -> str:
    """Have OpenClaw start the server and list its tools; say so.

    Raises:
        BadSetup: it could not, or not all five tools are there.
    """
    doctor = openclaw_config.typed(machine, "mcp", "doctor")
    hint = f"Try {shlex.join([*machine.agentbus, 'serve'])} by hand, and `{doctor}`."
    openclaw_config.program(machine)
    try:
        probed = openclaw_config.run(machine, "mcp", "probe", SERVER, "--json")
    except BadSetup as error:
        raise BadSetup(error.message, hint=hint) from None
    tools = openclaw_config.parsed(probed).get("tools", [])
    missing = [tool for tool in TOOLS if f"{SERVER}__{tool}" not in tools]
    if missing:
        raise BadSetup(f"OpenClaw does not see {', '.join(missing)}.", hint=hint)
    agent = _agent_of(openclaw_config.server(machine))
    known = f" as agent {agent}" if agent else ""
    return f"OpenClaw started agentbus{known} and lists its {len(TOOLS)} tools"


def _has_server(machine: Machine) -> bool:
    """Tell whether there is an entry of ours; where only OpenClaw can tell and does not, maybe."""
    try:
        return entry.is_ours(openclaw_config.server(machine))
    except BadSetup:  # whoever takes the step is told why
        return SERVER in openclaw_config.text(openclaw_config.config_file(machine))


def _wanted(machine: Machine, before: dict[str, Any], agent: str | None) -> dict[str, Any]:
    """Return the server's entry, which says who its sessions are: no folder here tells that."""
    # An entry with a folder leaves it to the .agentbus.toml there.
    if agent is None and entry.agent_of(before) is None and not before.get("cwd"):
        agent = _default_agent(machine)
    made = entry.made(machine, before, agent=agent, host=NAME, requestTimeoutMs=_CALL_LIMIT_MS)
    return {**made, "env": {**made["env"], **_cap(made)}}


def _cap(server: dict[str, Any]) -> dict[str, str]:
    """Return the most that `watch_inbox` may wait, where OpenClaw ends a longer call.

    A smaller one of its user's stays.
    """
    limit_ms, given = server["requestTimeoutMs"], str(server["env"].get(_WATCH_MAX, ""))
    if isinstance(limit_ms, bool) or not isinstance(limit_ms, int | float):
        return {}  # OpenClaw will say what is wrong with it
    most = int(limit_ms / 1000) - _ANSWERED_WITHIN_S
    with contextlib.suppress(ValueError):
        if seconds(given) <= most:
            return {}
    return {_WATCH_MAX: str(most)} if 0 < most <= WATCH_MAX_S else {}


def _default_agent(machine: Machine) -> str:
    """Return the one that `agent add` has set up for OpenClaw, else `openclaw`.

    Where others may be of that name it says which: the machine on a shared bus, and the profile.
    """
    set_up = [name for name, rules in machine.settings.rules.items() if rules.host == NAME]
    if len(set_up) == 1:
        return set_up[0]
    shared = platform.node().partition(".")[0] if machine.settings.url else ""
    profile = openclaw_config.profile(machine)
    words = [shared, "" if profile == openclaw_config.DEFAULT_PROFILE else profile]
    more = "-".join(word for word in words if word)
    return spelling.default_id(Path(more), NAME) if more else NAME


def _agent_of(server: dict[str, Any]) -> str:
    """Return who the sessions of an entry are; nothing if it leaves that to OpenClaw's folder."""
    if named := entry.agent_of(server):
        return named
    if not (folder := server.get("cwd")):
        return ""
    # OpenClaw starts it with little more of an environment than what the entry says.
    bare = load_settings({"AGENTBUS_HOST": NAME}, text="")
    return identity.who(bare, folder=Path(str(folder))).id


def _set_server(machine: Machine, before: dict[str, Any], server: dict[str, Any]) -> Step:
    # Not by `openclaw mcp set`: it takes twice as long, and other users see its arguments.
    patch = openclaw_config.typed(machine, *openclaw_config.PATCH)
    what = f"run `{patch}`: mcp.servers.{SERVER}"
    if not entry.variables(server) and set(server) <= _KEYS:  # what its user added may be secret
        what += f" = {json.dumps(server)}"

    def do() -> str:
        if server == before:
            return "it is there already"
        changes = {"mcp": {"servers": {SERVER: _changes(before, server)}}}
        try:  # both at once: it takes OpenClaw some seconds to change its file
            openclaw_config.patch(machine, {**changes, **openclaw_hooks.missing(machine)})
        except BadSetup:  # hooks of an included file are not changed, and none else has to wait
            openclaw_config.patch(machine, changes)
        return ""

    return Step(f"make OpenClaw the agent {_agent_of(server)}: {what}", do)


def _patch_server(machine: Machine, changes: dict[str, Any]) -> None:
    openclaw_config.patch(machine, {"mcp": {"servers": {SERVER: changes}}})


def _changes(before: dict[str, Any], server: dict[str, Any]) -> dict[str, Any]:
    """Return the patch from one to the other, with none of what stays.

    OpenClaw shows variables of its environment with their values, which its file is not to hold.
    """
    changed = {key: value for key, value in server.items() if before.get(key) != value}
    if "env" in changed:
        old = openclaw_config.table(before, "env")
        changed["env"] = _changes(old, {**dict.fromkeys(old), **server["env"]})  # null takes out
    return changed


def _unset_server(machine: Machine) -> str:
    server = openclaw_config.server(machine)
    if not server:
        return "it was not there"
    if not entry.is_ours(server):
        return "it starts something else, and stays"
    # Not by `openclaw mcp unset`, which takes half as long again.
    changes = {"mcp": _without_server(openclaw_config.plain(machine))}
    both = {**changes, **openclaw_hooks.ours(machine)}
    for smaller in _smaller_entries(machine, both):
        _patch_server(machine, {**dict.fromkeys(server), **smaller})
    try:  # both at once, as `_set_server`
        openclaw_config.patch(machine, both)
    except BadSetup:
        openclaw_config.patch(machine, changes)
    return ""


def _without_server(document: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the patch of the table `mcp` that takes out the entry, and a table that has no other.

    Args:
        document: what openclaw.json says; None if only OpenClaw can tell, then the tables stay.
    """
    mcp = openclaw_config.table(document or {}, "mcp")
    if set(openclaw_config.table(mcp, "servers")) != {SERVER}:
        return {"servers": {SERVER: None}}
    return None if set(mcp) == {"servers"} else {"servers": None}


def _smaller_entries(machine: Machine, changes: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what to set the entry to, one after the other, before these changes can be made.

    OpenClaw refuses a write that makes a file of 512 bytes or more smaller than its half, and in
    a file with little else the entry and the hooks are the larger half.
    """
    document = openclaw_config.plain(machine) or {}
    size = len(openclaw_config.text(openclaw_config.config_file(machine)).encode())
    rest = _size(_patched(document, changes))
    servers = openclaw_config.table(document, "mcp", "servers")
    while document and size >= _GUARDED_BYTES and rest < size // 2 + _MARGIN_BYTES:
        server = {"enabled": False, "command": ""}
        servers[SERVER] = server
        size = size // 2 + 2 * _MARGIN_BYTES
        server["command"] = "-" * max(1, size - _size(document))
        yield server


def _patched(document: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return what OpenClaw makes of a table by such changes."""
    left = {key: value for key, value in document.items() if key not in changes}
    for key, change in changes.items():
        if isinstance(change, dict):
            left[key] = _patched(openclaw_config.table(document, key), change)
        elif change is not None:
            left[key] = change
    return left


def _size(document: dict[str, Any]) -> int:
    return len(json.dumps(document, indent=2, ensure_ascii=False).encode())


def _remove(file: Path) -> str:
    """Remove a file, and the folder around it if that is empty then.

    Raises:
        BadSetup: it cannot be removed.
    """
    files.remove(file)
    with contextlib.suppress(OSError):  # something else is in it
        file.parent.rmdir()
    return ""
