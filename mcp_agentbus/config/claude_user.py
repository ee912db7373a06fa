# SPDX-License-Identifier: Apache-2.0
"""What Claude Code keeps of its user, as far as others go by it: where, and by which login.

    >>> environ(os.environ)     # of `env` in ~/.claude/settings.json
    {'CLAUDE_CODE_USE_BEDROCK': '1'}

Each of its sessions has these variables, whatever it is started with.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.core import hosts
from mcp_agentbus.core.files import HOSTS_MAX_BYTES, read_whole
from mcp_agentbus.core.text import from_json

_HOST: Final = hosts.named("claude-code")


def folder(environ: Mapping[str, str]) -> str:
    """Return where Claude Code keeps what it knows of this user, and what the user has set."""
    given = environ.get("CLAUDE_CONFIG_DIR") or f"{environ.get('HOME') or '~'}/.claude"
    return os.path.expanduser(given)  # noqa: PTH111  # there may be no home


def noted(path: Path) -> dict[str, Any]:
    """Return what a file of it says; nothing if it is gone, or is being written."""
    with contextlib.suppress(OSError, ValueError):
        said = from_json(read_whole(path, HOSTS_MAX_BYTES))
        if isinstance(said, dict):
            return said
    return {}


def settings(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the user's own settings; nothing if there are none that Claude Code can read."""
    return noted(Path(folder(environ), "settings.json"))


def environ(around: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that the user's settings give to every session, to log in."""
    return environ_of(settings(around), around)


def environ_of(given: Mapping[str, Any], around: Mapping[str, str]) -> dict[str, str]:
    """Return those of some settings that log in, or choose the model."""
    named = given.get("env")
    variables = {
        name: value
        for name, value in (named.items() if isinstance(named, dict) else ())
        if isinstance(value, str)
    }
    wanted = _HOST.login_variables({**around, **variables})
    return {name: value for name, value in variables.items() if hosts.is_among(name, wanted)}
