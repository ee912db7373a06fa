# SPDX-License-Identifier: Apache-2.0
"""Starts a server entry as a host does, and asks it for its tools.

    >>> tools(["/usr/bin/agentbus", "serve"], {"PATH": "/usr/bin"})
    ['send_task', 'read_inbox', 'watch_inbox', 'list_agents', 'publish_result']

A probe touches neither the bus nor an inbox. It speaks MCP by hand, since the SDK takes a second
and more to import.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import IO, Any, Final

from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import BadSetup

#: What every host must see.
TOOLS: Final = ("send_task", "read_inbox", "watch_inbox", "list_agents", "publish_result")
#: A first start, with nothing in the system's caches, takes some seconds on a small machine.
WITHIN_S: Final = 60.0
# A server that lives for 2 s, as on a slow machine, would start a listener for good.
_LEAVES_NO_TRACE: Final = {"AGENTBUS_LISTENER": "off"}
_FILLED_IN: Final = "${"
_PROTOCOL: Final = "2025-06-18"  # of the handshake eras, which every host knows


def check(argv: Sequence[str], environ: Mapping[str, str], within_s: float | None = None) -> str:
    """See that the entry's server has the five tools; return a line that says so.

    Raises:
        BadSetup: it does not start, does not answer in time, or lacks a tool.
    """
    missing = set(TOOLS) - set(tools(argv, environ, within_s))
    if missing:
        raise BadSetup(
            f"The server `{argv[0]}` lacks the tools {', '.join(sorted(missing))}.",
            hint="Install mcp-agentbus anew, then run this command again.",
        )
    return f"{argv[0]} answers with {len(TOOLS)} tools"


def started(
    entry: Mapping[str, Any], environ: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Return command and environment of an entry's server as far as they are known without a host.

    A host fills in what is written `${...}`, and makes text of numbers.
    """
    words = [str(word) for word in entry["args"]]
    if any(_FILLED_IN in word for word in words):
        words = words[: words.index("serve") + 1]
    given = entry.get("env")
    env = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in (given.items() if isinstance(given, dict) else ())
        if value is not None
    }
    known = {name: value for name, value in env.items() if _FILLED_IN not in value}
    return [str(entry["command"]), *words], {**environ, **known}


def tools(
    argv: Sequence[str], environ: Mapping[str, str], within_s: float | None = None
) -> list[str]:
    """Return the names of the tools that a server offers over its pipes.

    Raises:
        BadSetup: it does not start, or does not answer in time.
    """
    hint = f"Run `{shlex.join(argv)}` in a terminal: what it prints says why."
    try:
        server = subprocess.Popen(
            argv,
            env={**environ, **_LEAVES_NO_TRACE},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
    except OSError as error:
        raise BadSetup(f"`{argv[0]}` cannot run: {error.strerror}.", hint=hint) from None
    limit_s = WITHIN_S if within_s is None else min(WITHIN_S, within_s)
    overdue = threading.Timer(limit_s, server.kill)
    overdue.start()
    try:
        with server:
            return _asked(server)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        message = f"`{argv[0]}` does not answer as an MCP server."
        raise BadSetup(message, hint=hint) from None
    finally:
        overdue.cancel()


def _asked(server: subprocess.Popen[str]) -> list[str]:
    if server.stdin is None or server.stdout is None:
        raise OSError
    try:
        hello = {
            "protocolVersion": _PROTOCOL,
            "capabilities": {},
            "clientInfo": {"name": "agentbus-install", "version": "1"},
        }
        _say(server.stdin, {"id": 1, "method": "initialize", "params": hello})
        _answer(server.stdout, 1)
        _say(server.stdin, {"method": "notifications/initialized"})
        _say(server.stdin, {"id": 2, "method": "tools/list"})
        return [tool["name"] for tool in _answer(server.stdout, 2)["tools"]]
    except BaseException:
        server.kill()
        raise


def _say(pipe: IO[str], message: dict[str, Any]) -> None:
    pipe.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    pipe.flush()


def _answer(pipe: IO[str], number: int) -> dict[str, Any]:
    """Read until the answer of that number; an empty line is the end, which is no JSON."""
    while True:
        message = from_json(pipe.readline())
        if message.get("id") == number:
            result: dict[str, Any] = message["result"]
            return result
