# SPDX-License-Identifier: Apache-2.0
"""Where OpenClaw keeps its things, and what its openclaw.json says.

    >>> table(parsed(text(config_file(machine))), "hooks")
    {'enabled': True, 'token': '...'}

It writes nothing: OpenClaw changes its file by its own commands.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.errors import BadSetup

from .steps import Machine

#: The profile of those who have named none.
DEFAULT_PROFILE: Final = "default"


def profile(machine: Machine) -> str:
    """Return the name of the profile, each of which is an OpenClaw of its own."""
    return machine.environ.get("OPENCLAW_PROFILE") or DEFAULT_PROFILE


def state_folder(machine: Machine) -> Path:
    """Return the folder in which OpenClaw keeps its skills and its state."""
    if given := machine.environ.get("OPENCLAW_STATE_DIR"):
        return _expanded(machine, given)
    home = machine.environ.get("OPENCLAW_HOME")
    name = profile(machine)
    name = ".openclaw" if name == DEFAULT_PROFILE else f".openclaw-{name}"
    return (_expanded(machine, home) if home else machine.home) / name


def config_file(machine: Machine) -> Path:
    """Return where this OpenClaw's openclaw.json is, or would be."""
    given = machine.environ.get("OPENCLAW_CONFIG_PATH")
    return _expanded(machine, given) if given else state_folder(machine) / "openclaw.json"


def _expanded(machine: Machine, path: str) -> Path:
    return machine.home / path[2:] if path.startswith("~/") else Path(path)


def text(file: Path) -> str:
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


def parsed(text: str) -> dict[str, Any]:
    """Return a document; empty if it is none, or written by hand with comments in it."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def table(document: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Return the table under these keys; empty if there is none."""
    for key in keys:
        inner = document.get(key)
        document = inner if isinstance(inner, dict) else {}
    return document
