# SPDX-License-Identifier: Apache-2.0
"""What this user's own server is told at its start.

    >>> own_conf(files, -1, token, 8 << 30).splitlines()[0]
    'listen: "127.0.0.1:-1"'

Pure: a text comes out.
"""

from __future__ import annotations

from mcp_agentbus.bus.own.files import Files
from mcp_agentbus.bus.server_conf import jetstream, quoted


def own_conf(files: Files, port: int, token: str, max_bytes: int) -> str:
    """Return its configuration; it holds the token."""
    return f"""\
listen: "127.0.0.1:{port}"
server_name: agentbus
ports_file_dir: {quoted(str(files.ports))}
logfile: {quoted(str(files.log))}
logfile_size_limit: 10MB
logfile_max_num: 3
authorization {{ token: "{token}" }}
{jetstream(str(files.store), max_bytes)}"""
