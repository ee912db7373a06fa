# SPDX-License-Identifier: Apache-2.0
"""The token by which OpenClaw's gateway is woken: set where there is none, and taken out again.

    >>> switch_on(machine, "openclaw")
    'to let it be woken: agentbus agent add openclaw --host openclaw ...'

Hooks with a token of the user's, or off by the user's word, stay as they are.
"""

from __future__ import annotations

import secrets
import shlex
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.installers._parts import files, openclaw_config
from mcp_agentbus.installers.steps import Machine

from mcp_agentbus.config.values import hook_token_file

#: A token of ours begins so: how `switch_off` knows that the hooks were off before.
_OURS: Final = "agentbus-"
_HOOKS_PATH: Final = "/hooks"
_PORT: Final = 18789
# Of the profile that OpenClaw gives another port by itself.
_PORTS: Final = {"dev": 19001}


def token_file(machine: Machine) -> Path:
    """Return where our copy of hooks.token is kept, by which the listener wakes the gateway."""
    profile = openclaw_config.profile(machine)
    name = hook_token_file("" if profile == openclaw_config.DEFAULT_PROFILE else profile)
    return machine.settings.config_file.parent / name


def switch_on(machine: Machine, agent: str) -> str:
    """See that the gateway takes wakes with a token that we know; say what comes next.

    Args:
        machine: where to work.
        agent: who its sessions are.

    Raises:
        BadSetup: a file cannot be read or written, or OpenClaw refuses.
    """
    hooks = openclaw_config.section(machine, "hooks")
    file = token_file(machine)
    token = _token(machine, hooks)
    # Hooks with a token of the user's, or off by the user's word, stay as they are.
    if hooks.get("enabled") is not True and (token or "enabled" in hooks):
        return "hooks.enabled is not true, and stays so: no wake reaches OpenClaw before it is"
    # One that names a variable, stands in an included file, or beside comments.
    if token is not None and (
        not isinstance(token, str) or "${" in token or token == openclaw_config.HIDDEN
    ):
        return f"hooks.token cannot be read from openclaw.json: put it into {file}, mode 0600"
    if token:
        files.write(file, f"{token}\n".encode(), mode=0o600)
    else:
        openclaw_config.patch(machine, missing(machine))
    path = hooks.get("path", _HOOKS_PATH)
    if str(path).strip("/") != _HOOKS_PATH.strip("/"):
        return f"hooks.path is {path!r}: no wake reaches OpenClaw before it is {_HOOKS_PATH!r}"
    add = ["agentbus", "agent", "add", agent, "--host", "openclaw", "--wake", "work"]
    return f"to let it be woken: {shlex.join([*add, *_of_this_one(machine)])}"


def _of_this_one(machine: Machine) -> list[str]:
    """Return the options that name this OpenClaw, where another terminal may follow another."""
    if openclaw_config.config_file(machine) == machine.home / ".openclaw" / "openclaw.json":
        return []
    url = f"http://127.0.0.1:{_port(machine)}"
    return ["--token-file", str(token_file(machine)), "--gateway-url", url]


def _port(machine: Machine) -> object:
    """Return where the gateway listens."""
    of_profile = _PORTS.get(openclaw_config.profile(machine), _PORT)
    return openclaw_config.section(machine, "gateway").get("port", of_profile)


def missing(machine: Machine) -> dict[str, Any]:
    """Return the change by which the gateway takes wakes with a token of ours, which is kept here.

    Empty where there is a token, or hooks are off by the user's word.

    Raises:
        BadSetup: as `switch_on`.
    """
    hooks = openclaw_config.section(machine, "hooks")
    if _token(machine, hooks) or hooks.get("enabled", True) is not True:
        return {}
    file = token_file(machine)
    kept = openclaw_config.text(file).strip()
    token = kept if is_ours(kept) else _OURS + secrets.token_urlsafe(32)
    # First here: should OpenClaw refuse it, the next try takes the same token.
    files.write(file, f"{token}\n".encode(), mode=0o600)
    return {"hooks": {"enabled": True, "token": token}}


def gateway(machine: Machine) -> dict[str, str]:
    """Return where the gateway takes wakes, and our copy of its token, as far as they are there.

    Raises:
        BadSetup: the file cannot be read, or OpenClaw cannot tell.
    """
    there = {}
    port = _port(machine)
    if port != _PORT:
        there["gateway_url"] = f"http://127.0.0.1:{port}"
    if token_file(machine).is_file():
        there["token_file"] = str(token_file(machine))
    return there


def switch_off(machine: Machine) -> str:
    """Take out what `switch_on` has set, and nothing else.

    Args:
        machine: where to work.

    Raises:
        BadSetup: OpenClaw's file cannot be read, or OpenClaw refuses.
    """
    if changes := ours(machine):
        openclaw_config.patch(machine, changes)
    elif _token(machine, openclaw_config.section(machine, "hooks")):
        return "hooks.token is another one now, and stays"
    return ""


def ours(machine: Machine) -> dict[str, Any]:
    """Return the change that takes out what `switch_on` has set; empty if that is not there.

    Raises:
        BadSetup: OpenClaw's file cannot be read.
    """
    hooks = openclaw_config.section(machine, "hooks")
    if not is_ours(_token(machine, hooks)):
        return {}
    # The whole table if nothing else is in it. Without a token hooks are off, so an `enabled`
    # that stood there before had done nothing.
    alone = not set(hooks) - {"enabled", "token"}
    return {"hooks": None if alone else {"enabled": None, "token": None}}


def is_on(machine: Machine) -> bool:
    """Tell whether there is anything for `switch_off`; where OpenClaw is not asked, maybe.

    Raises:
        BadSetup: a file cannot be read.
    """
    hooks = openclaw_config.table(openclaw_config.plain(machine) or {}, "hooks")
    kept = openclaw_config.text(token_file(machine)).strip()
    return is_ours(hooks.get("token")) or (
        is_ours(kept) and kept in openclaw_config.text(openclaw_config.config_file(machine))
    )


def _token(machine: Machine, hooks: dict[str, Any]) -> object:
    """Return hooks.token; of one that OpenClaw hides our copy, if that is what the file holds."""
    token = hooks.get("token")
    if token != openclaw_config.HIDDEN:
        return token
    kept = openclaw_config.text(token_file(machine)).strip()
    return (
        kept
        if kept and kept in openclaw_config.text(openclaw_config.config_file(machine))
        else token
    )


def is_ours(token: object) -> bool:
    """Tell whether a token is of our making."""
    return isinstance(token, str) and token.startswith(_OURS)
