# SPDX-License-Identifier: Apache-2.0
"""The entry by which a host starts the server, and the id of an agent that it may hold.

    >>> made(machine, agent="reviewer")
    {'command': '/usr/bin/python3', 'args': ['-E', '-P', '-m', 'mcp_agentbus', 'serve', ...]}

What its user has added to an entry of ours stays: another id would be another inbox.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.installers.steps import Machine

from mcp_agentbus.config.sections.server import BINARY, IN_ENVIRON
from mcp_agentbus.config.settings import neighbour_environ

#: The server's name in every host.
SERVER: Final = "agentbus"
_OPTION: Final = "--agent"
# Variables that we set; the others are its user's.
_OURS: Final = ("AGENTBUS_HOME", "AGENTBUS_HOST")
# These may be either's: what is set at an install takes the place of what stands there, which
# stays otherwise.
_EITHERS: Final = (*IN_ENVIRON.values(), BINARY, "AGENTBUS_WATCH_MAX_S", "SSL_CERT_", "XDG_")


def made(
    machine: Machine,
    before: Mapping[str, Any] | None = None,
    *,
    agent: str | None = None,
    host: str = "",
    **ours: object,
) -> dict[str, Any]:
    """Return the server's entry: `command`, `args`, and `env` if need be.

    Args:
        machine: where agentbus is.
        before: the entry as it is now, whose other keys stay.
        agent: who its sessions are; whom `before` names if not given.
        host: what its sessions run in, for a host whose environment does not tell.
        ours: keys that one host needs, if `before` has no other value for them.
    """
    before = before or {}
    command, *args = machine.agentbus
    words = [*args, "serve", *_with_agent(_behind_serve(before), agent)]
    env = {key: value for key, value in _env(before).items() if key not in _OURS}
    if host:
        env["AGENTBUS_HOST"] = host
    env |= neighbour_environ(machine.settings)
    entry = {**ours, **before, "command": command, "args": words}
    entry.pop("env", None)
    return {**entry, "env": env} if env else entry


def agent_of(entry: Mapping[str, Any]) -> str | None:
    """Return the agent that an entry names; None if the server is left to find out."""
    words = [*map(str, _behind_serve(entry)), ""]
    for word, following in itertools.pairwise(words):
        if word == _OPTION:
            return following
        if word.startswith(f"{_OPTION}="):
            return word.partition("=")[2]
    name = _env(entry).get("AGENTBUS_AGENT")
    return str(name) if name else None


def additions(entry: Mapping[str, Any]) -> list[str]:
    """Return what its user has added to an entry of ours: arguments, and names of variables."""
    return [*map(str, _behind_serve(entry)), *variables(entry)]


def all_said(entry: Mapping[str, Any]) -> list[str]:
    """Return what goes with an entry of ours: as `additions`, and what an install had put there."""
    return [*map(str, _behind_serve(entry)), *(name for name in _env(entry) if name not in _OURS)]


def beside_plugin(machine: Machine) -> str:
    """Return what is said of the variables for which a plugin has no place; empty if none is set.

    An entry has them. The folder of agentbus stands in the plugin's note.
    """
    names = [name for name in neighbour_environ(machine.settings) if name not in _OURS]
    if not names:
        return ""
    return (
        f"; the plugin has no place for {', '.join(names)}: write what says where the bus is under "
        "[server] of config.toml, or set them where the host is started"
    )


def variables(entry: Mapping[str, Any]) -> list[str]:
    """Return the names of the variables that its user has added; their values may be secret."""
    return [name for name, value in _env(entry).items() if not _is_ours(name, str(value))]


def _is_ours(name: str, value: str) -> bool:
    # A URL of ours has no secret, so nothing before an @.
    return name in _OURS or (name.startswith(_EITHERS) and "@" not in value)


def _behind_serve(entry: Mapping[str, Any]) -> list[Any]:
    args = entry.get("args")
    if not isinstance(args, list) or "serve" not in args:
        return []
    return args[args.index("serve") + 1 :]


def _with_agent(words: list[Any], agent: str | None) -> list[Any]:
    """Return the arguments with this agent in the place of another."""
    if agent is None:
        return words
    rest: list[Any] = []
    left = iter(words)
    for word in left:
        if word == _OPTION:
            next(left, None)
        elif not str(word).startswith(f"{_OPTION}="):
            rest.append(word)
    return [_OPTION, agent, *rest]


def _env(entry: Mapping[str, Any]) -> dict[str, Any]:
    env = entry.get("env")
    return env if isinstance(env, dict) else {}


def gone(entry: Mapping[str, Any]) -> str:
    """Return the program that an entry of ours starts, if that is not there any more; else ""."""
    command = entry.get("command")
    if not isinstance(command, str) or not command.startswith("/") or Path(command).exists():
        return ""
    return command if is_ours(entry) else ""


def is_ours(entry: Mapping[str, Any]) -> bool:
    """Tell whether an entry starts an agentbus, wherever it lies; one with a URL starts nothing."""
    command, args = entry.get("command"), entry.get("args")
    if entry.get("url") or not isinstance(command, str) or not isinstance(args, list):
        return False
    ours = command.rpartition("/")[2] == "agentbus" or {"mcp_agentbus", "mcp-agentbus"} & {
        word for word in args if isinstance(word, str)
    }
    return bool(ours) and "serve" in args
