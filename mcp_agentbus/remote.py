# SPDX-License-Identifier: Apache-2.0
"""A command, carried out by the listener where one runs: it has loaded what that takes.

    code = run(args, print)    # None: nobody there took it, so it is done in this process

What is printed is the same either way. Imports the standard library only, and little of that.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from mcp_agentbus import errors, local, places
from mcp_agentbus.errors import AgentbusError
from mcp_agentbus.places import Place
from mcp_agentbus.version import __version__

#: Commands that only speak to the bus.
COMMANDS: Final = frozenset(
    {"agents", "inbox", "parked", "replay", "result", "send", "task", "watch"}
)
# Longer than this a request is no line of the local socket; then the bus is spoken to from here.
_REQUEST_MAX_BYTES: Final = local.LINE_MAX_BYTES // 2


def run(args: argparse.Namespace, out: Callable[[str], None]) -> int | None:
    """Have the listener carry out a command, and pass on what it prints; return the exit code.

    Returns None if there is none that takes it, or if it ended before it was done.

    Raises:
        AgentbusError: the command was refused.
    """
    if args.command == "send" and not args.request_id:
        # So that it may be repeated, whatever becomes of the listener.
        args.request_id = f"cli-{os.urandom(8).hex()}"
    place = Place(places.runtime_folder(os.environ), os.environ)
    request = local.line(
        {
            "op": "command",
            "version": __version__,
            "args": vars(args),
            **local.surroundings(os.environ),
        }
    )
    if len(request) > _REQUEST_MAX_BYTES:
        return None
    with suppress(OSError, ValueError), local.connect(place) as connection:
        connection.sendall(request)
        connection.settimeout(None)
        with connection.makefile("rb") as lines:
            for line in lines:
                said = local.message(line)
                if "out" in said:
                    out(said["out"])
                elif "code" in said:
                    return int(said["code"])
                elif "kind" in said:
                    raise _error(said)
                else:
                    return None
    return None


def _error(said: dict[str, Any]) -> AgentbusError:
    kind = getattr(errors, str(said["kind"]), AgentbusError)
    error: AgentbusError = kind(str(said["error"]), hint=str(said["hint"]))
    return error
