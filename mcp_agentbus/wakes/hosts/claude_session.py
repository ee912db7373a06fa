# SPDX-License-Identifier: Apache-2.0
"""A live session of Claude Code, from inside: may it be told something, and how that is done.

    if can_nudge(os.environ):
        nudge(os.environ, "1 task waits in your agentbus inbox. Call read_inbox.")

Only a process that the session itself has started may write to its messaging socket: what others
write there is held back until its user agrees. Nothing but the standard library.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.config import claude_user

# The first version with the socket, and how AI_AGENT says which one runs.
_NUDGE_SINCE: Final = (2, 1, 224)
_AI_AGENT: Final = re.compile(r"claude-code_(\d{1,6})-(\d{1,6})-(\d{1,6})(?:_.*)?")
#: A session takes a line in milliseconds; one that does not in this time, in seconds, hangs.
NUDGE_TIMEOUT_S: Final = 2.0


def can_nudge(environ: Mapping[str, str]) -> bool:
    """Tell whether this is the environment of a session that takes lines on its socket."""
    version = _AI_AGENT.fullmatch(environ.get("AI_AGENT", ""))
    return (
        bool(environ.get("CLAUDE_CODE_MESSAGING_SOCKET"))
        # A run with -p ends by itself, and a line would come too late.
        and environ.get("CLAUDE_CODE_ENTRYPOINT") == "cli"
        and version is not None
        and tuple(int(part) for part in version.groups()) >= _NUDGE_SINCE
    )


def nudge(environ: Mapping[str, str], notice: str) -> None:
    """Give the live session around this process a line: it starts a turn, or goes into this one.

    Raises:
        OSError: there is no such session any more, or it does not take the line (TimeoutError).
    """
    path = environ.get("CLAUDE_CODE_MESSAGING_SOCKET", "")
    if not path:
        raise FileNotFoundError("CLAUDE_CODE_MESSAGING_SOCKET is not set")
    auth = {"type": "auth", "token": environ.get("CLAUDE_CODE_MESSAGING_TOKEN", "")}
    line = {
        "type": "user",
        "message": {"role": "user", "content": notice},
        "session_id": current_session(os.getppid(), environ)
        or environ.get("CLAUDE_CODE_SESSION_ID", ""),
        # After the tool call that runs, and without interrupting it.
        "priority": "next",
    }
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(NUDGE_TIMEOUT_S)
        connection.connect(path)
        connection.sendall(f"{json.dumps(auth)}\n{json.dumps(line)}\n".encode())


def sessions(environ: Mapping[str, str]) -> Generator[dict[str, Any]]:
    """Yield what Claude Code has noted of the sessions of this user, live or not."""
    for path in Path(claude_user.folder(environ), "sessions").glob("*.json"):
        yield claude_user.noted(path)


def current_session(pid: int, environ: Mapping[str, str]) -> str:
    """Return the id of this moment of the session in a process; nothing if none is noted.

    `/clear` and `/resume` change it under the servers that the process has started.
    """
    file = Path(claude_user.folder(environ), "sessions", f"{pid}.json")
    return str(claude_user.noted(file).get("sessionId") or "")
