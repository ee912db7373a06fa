# SPDX-License-Identifier: Apache-2.0
"""What tests of the installers put into somebody else's JSON: an entry, a hook, a default.

>>> merge(file, ALL); left(file.parent)
['mcp.json']
"""

from mcp_agentbus.installers._parts.edit import Piece

SERVER = Piece(
    ("mcpServers", "agentbus"), {"type": "stdio", "command": "/a b/agentbus", "args": ["serve"]}
)


def is_ours(element):
    return isinstance(element, dict) and element.get("command", "").endswith("agentbus hook stop")


HOOK = Piece(("hooks", "stop"), {"command": "agentbus hook stop", "loop_limit": 5}, ours=is_ours)
VERSION = Piece(("version",), 1, default=True)
ALL = (VERSION, HOOK, SERVER)


def left(folder):
    """Return what is below a folder, folders too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
