# SPDX-License-Identifier: Apache-2.0
"""A command, carried out by the listener where one runs: it has loaded what that takes.

    code = run(args, print)    # None: nobody there took it, so it is done in this process

What is printed is the same either way. It knows no command: what was typed goes to the listener as
it was parsed. Imports the standard library only, and little of that.
"""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from mcp_agentbus import errors
from mcp_agentbus.core import hosts, lines, places
from mcp_agentbus.core.places import Place
from mcp_agentbus.errors import AgentbusError, Unconfirmed
from mcp_agentbus.relay import local_socket
from mcp_agentbus.version import __version__

#: Commands that only speak to the bus.
COMMANDS: Final = frozenset(
    {
        "agents", "answer", "audit", "export", "inbox", "parked", "replay", "result", "search",
        "send", "task", "tasks", "tell", "watch",
    }
)  # fmt: skip
# Longer than this a request is no line of the local socket; then the bus is spoken to from here.
_REQUEST_MAX_BYTES: Final = local_socket.LINE_MAX_BYTES // 2
# In seconds: a listener says in a millisecond that it takes a command; one that does not in this
# time hangs, and the command is carried out without it.
_TAKES_WITHIN_S: Final = 2.0
# One that has said nothing for so long is asked whether it lives; some commands wait for minutes.
_SILENT_S: Final = 5.0
_CHUNK_BYTES: Final = 64 * 1024


def run(args: argparse.Namespace, out: Callable[[str], None]) -> int | None:
    """Have the listener carry out a command, and pass on what it prints; return the exit code.

    Returns None if there is none that takes it, or if it ended before it was done: then `args` are
    those with which to go on from what was printed.

    Raises:
        AgentbusError: the command was refused.
        Unconfirmed: the listener hangs, with the command in its hands.
    """
    if args.command in {"send", "tell"} and not args.request_id:
        # So that it may be repeated, whatever becomes of the listener.
        args.request_id = f"cli-{os.urandom(8).hex()}"
    place = Place(places.runtime_folder(os.environ), os.environ)
    request = local_socket.line(
        {
            "op": "command",
            "version": __version__,
            "args": vars(args),
            "is_persons": is_persons(args),
            **local_socket.surroundings(os.environ),
        }
    )
    if len(request) > _REQUEST_MAX_BYTES:
        return None
    with suppress(OSError, ValueError), local_socket.connect(place) as connection:
        connection.settimeout(_TAKES_WITHIN_S)
        connection.sendall(request)
        # Until it is told to go on, the listener does nothing and says nothing more.
        if "taken" not in local_socket.message(connection.recv(_CHUNK_BYTES)):
            return None
        connection.sendall(local_socket.line({"go": True}))
        connection.settimeout(_SILENT_S)
        for line in lines.read_from(lambda: _received(connection, place, args)):
            message = local_socket.message(line)
            if "out" in message:
                out(message["out"])
                vars(args).update(message.get("changed", {}))
            elif "printed" in message:  # what was shown counts as seen from now on
                connection.sendall(local_socket.line({"printed": True}))
            elif "code" in message:
                return int(message["code"])
            elif "kind" in message:
                raise _error(message)
            else:
                return None
    return None


def is_persons(args: argparse.Namespace) -> bool:
    """Tell whether a command is of a person, or a script of theirs, who has named no agent."""
    # It is asked last, as it looks at every process above.
    return not getattr(args, "agent", None) and not hosts.are_around(os.environ)


def _received(connection: socket.socket, place: Place, args: argparse.Namespace) -> bytes:
    """Return what the listener says next, however long that takes; b"" if its connection ended.

    Raises:
        Unconfirmed: it hangs.
    """
    while True:
        try:
            return connection.recv(_CHUNK_BYTES)
        except TimeoutError:
            if not _hangs(place):
                continue
        request_id = getattr(args, "request_id", None)
        again = f"the same with --request-id {request_id}: it is stored once" if request_id else ""
        raise Unconfirmed(
            "The listener hangs: it is not known whether this was done.",
            hint="Run `agentbus listen --replace`, then "
            f"{again or 'look what was done before you repeat it'}.",
        )


def _hangs(place: Place) -> bool:
    """Tell whether a listener is there that does not answer, not even that it does not know."""
    try:
        with local_socket.connect(place) as connection:
            local_socket.exchange(connection, {"op": "hangs"})
    except TimeoutError:
        return True
    except (OSError, ValueError):
        return False
    return False


def _error(message: dict[str, Any]) -> AgentbusError:
    """Return the error that the listener names by its class, see `errors`."""
    kind = getattr(errors, str(message["kind"]), AgentbusError)
    error: AgentbusError = kind(str(message["error"]), hint=str(message["hint"]))
    return error
