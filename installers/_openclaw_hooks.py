# SPDX-License-Identifier: Apache-2.0
"""The token by which OpenClaw's gateway is woken: set where there is none, and taken out again.

    >>> switch_on(machine, "/usr/bin/openclaw", "openclaw")
    'to let it be woken: agentbus agent add openclaw --host openclaw ...'

Hooks with a token of the user's, or off by the user's word, stay as they are.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from . import _openclaw_config as _config
from .steps import Machine
from .systemd import write_whole

#: A token of ours begins so: how `switch_off` knows that the hooks were off before.
_OURS: Final = "agentbus-"
_HOOKS_PATH: Final = "/hooks"
_PORT: Final = 18789


def token_file(machine: Machine) -> Path:
    """Return where our copy of hooks.token is kept, by which the listener wakes the gateway."""
    return machine.settings.config_file.parent / "openclaw-hooks.token"


def switch_on(machine: Machine, program: str, agent: str) -> str:
    """See that the gateway takes wakes with a token that we know; say what comes next.

    Args:
        machine: where to work.
        program: OpenClaw's.
        agent: who its sessions are.

    Raises:
        BadSetup: a file cannot be read or written, or OpenClaw refuses.
    """
    document = _config.parsed(_config.text(_config.config_file(machine)))
    hooks = _config.table(document, "hooks")
    file = token_file(machine)
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
        kept = _config.text(file).strip()
        token = kept if is_ours(kept) else _OURS + secrets.token_urlsafe(32)
        # First here: should the next line fail, the next try takes the same token.
        write_whole(file, f"{token}\n".encode(), mode=0o600)
        _patch(machine, program, {"hooks": {"enabled": True, "token": token}})
    else:
        write_whole(file, f"{token}\n".encode(), mode=0o600)
    path = hooks.get("path", _HOOKS_PATH)
    if str(path).strip("/") != _HOOKS_PATH.strip("/"):
        return f"hooks.path is {path!r}: no wake reaches OpenClaw before it is {_HOOKS_PATH!r}"
    return f"to let it be woken: agentbus agent add {agent} --host openclaw --wake work"


def gateway(machine: Machine) -> dict[str, str]:
    """Return where the gateway takes wakes, and our copy of its token, as far as they are there."""
    found = {}
    port = _config.table(_config.parsed(_config.text(_config.config_file(machine))), "gateway").get(
        "port", _PORT
    )
    if port != _PORT:
        found["gateway_url"] = f"http://127.0.0.1:{port}"
    if token_file(machine).is_file():
        found["token_file"] = str(token_file(machine))
    return found


def switch_off(machine: Machine, program: Callable[[], str]) -> str:
    """Take out what `switch_on` has set, and nothing else.

    Args:
        machine: where to work.
        program: gives OpenClaw's, if it is needed.

    Raises:
        BadSetup: OpenClaw's file cannot be read, or OpenClaw refuses.
    """
    hooks = _config.table(_config.parsed(_config.text(_config.config_file(machine))), "hooks")
    if not is_ours(hooks.get("token")):
        return "hooks.token is another one now, and stays"
    # The whole table if nothing else is in it. Without a token hooks are off, so an `enabled`
    # that stood there before had done nothing.
    alone = not set(hooks) - {"enabled", "token"}
    less = None if alone else {"enabled": None, "token": None}
    return _patch(machine, program(), {"hooks": less})


def _patch(machine: Machine, program: str, patch: dict[str, Any]) -> str:
    """Change openclaw.json; the text goes through standard input, which no process list shows."""
    machine.run([program, "config", "patch", "--stdin"], stdin=json.dumps(patch))
    return ""


def is_ours(token: object) -> bool:
    """Tell whether a token is of our making."""
    return isinstance(token, str) and token.startswith(_OURS)
