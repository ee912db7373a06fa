# SPDX-License-Identifier: Apache-2.0
"""A hook of Claude Code: lets those tools of this plugin run for which its user is not to be asked.

    $ echo '{"tool_name": "mcp__plugin_agentbus_agentbus__list_agents", ...}' | python3 -I -S ...
    {"hookSpecificOutput": {"hookEventName": "PreToolUse", "permissionDecision": "allow", ...}}

Which these are is said to `agentbus install claude-code`, which writes them, one a line, beside the
plugin's note. A rule of the user's that denies or asks is stronger, and Claude Code sees to that.
Where nothing is printed it asks as it always does, so whatever goes wrong this prints nothing and
ends with 0.
"""
# As in agentbus_hook.py: it is started for each call, and pathlib would take a third of its time.
# ruff: noqa: INP001

from __future__ import annotations

import json
import os
import select

TYPE_CHECKING = False  # the module that has it is not little
if TYPE_CHECKING:
    from typing import Any

ALLOWED = "allowed"
PREFIX = "mcp__plugin_agentbus_agentbus__"
# Another server can be called so that its tools get the same names; this Claude Code alone says.
SERVER = {"name": "plugin:agentbus:agentbus", "source": "plugin"}
ANSWER = {
    "hookSpecificOutput": {
        "hookEventName": "PreToolUse",
        "permissionDecision": "allow",
        "permissionDecisionReason": "allowed by `agentbus install claude-code`",
    }
}


def main() -> int:
    """Answer the hook on standard output; always return 0."""
    try:
        if allows(json.loads(_given()), os.environ["CLAUDE_PLUGIN_DATA"]):
            os.write(1, json.dumps(ANSWER).encode() + b"\n")
    except (Exception, KeyboardInterrupt):  # noqa: BLE001  # see the top
        return 0
    return 0


def _given() -> bytes:
    """Return all that the host says; its end of the pipe may have this one wait for nobody."""
    read = b""
    while select.select([0], [], [])[0]:
        piece = os.read(0, 1 << 16)
        if not piece:
            break
        read += piece
    return read


def allows(given: dict[str, Any], data: str) -> bool:
    """Tell whether a call that a host is about to make is of a tool in the file of this folder."""
    if given.get("mcp_server") != SERVER or not given["tool_name"].startswith(PREFIX):
        return False
    # A pipe in the place of the file must not hold up the call.
    lines = os.open(f"{data}/{ALLOWED}", os.O_RDONLY | os.O_NONBLOCK)
    return given["tool_name"].removeprefix(PREFIX) in os.read(lines, 4096).decode().splitlines()


if __name__ == "__main__":
    # Nothing is left to be done; taking the modules down would take a tenth of the time.
    os._exit(main())
