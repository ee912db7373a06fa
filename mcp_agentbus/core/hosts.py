# SPDX-License-Identifier: Apache-2.0
"""The hosts that agentbus knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mcp_agentbus.core.ids import is_inbox

# The environment variable by which a host can be known, and the host's name on the bus.
_HOSTS: Final = (
    ("CURSOR_VERSION", "cursor"),
    ("CURSOR_TRACE_ID", "cursor"),
    ("CLAUDECODE", "claude-code"),
    ("OPENCLAW_STATE_DIR", "openclaw"),
    ("OPENCLAW_SHELL", "openclaw"),
)


def host_of(environ: Mapping[str, str]) -> str:
    """Tell which host's process this environment belongs to; `shell` if none is known."""
    said = environ.get("AGENTBUS_HOST", "")
    if is_inbox(said):
        return said
    return next((host for variable, host in _HOSTS if environ.get(variable)), "shell")


#: Hosts that can be woken without a live session.
HOSTS: Final = ("claude-code", "cursor", "openclaw", "command")
#: Those of them that work in a folder, which their sessions tell, and whose permissions agentbus
#: can limit for one wake.
LIMITED: Final = ("claude-code", "cursor")
