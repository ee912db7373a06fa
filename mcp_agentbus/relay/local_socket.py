# SPDX-License-Identifier: Apache-2.0
"""The local socket between this user's processes: where it is, how it speaks, who may.

    >>> ask(settings, {"op": "status"})
    {'pid': 4711, 'agents': [...], ...}

Lines of JSON, each an object of at most 64 KiB, but for answers, which may tell of each agent.
A request names what it wants under `op`:

- one answer and the end: `status`, `mail` (a hook), `wake`, `reload` and others;
- `join` (see `member`): the connection stays open, and both sides speak when they like;
- `serve` (see `session`): from the answer on the connection is a stream of that session's MCP;
- `typed` (see `words`): it is one of a command's words, and of what that command prints.

Only this user's processes are answered: the kernel tells whose they are. It knows no bus, and no
more of the standard library than it must: each relayed session has it.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import Any, Final

from mcp_agentbus.core import places
from mcp_agentbus.core.places import Where
from mcp_agentbus.errors import AgentbusError, NoListener, SilentListener
from mcp_agentbus.relay import door
from mcp_agentbus.relay.carried import words

#: A line holds ids and numbers; this is far more than any of them needs.
LINE_MAX_BYTES: Final = 64 * 1024
#: What our own listener answers may be longer: 250 bytes for each of its agents.
ANSWER_MAX_BYTES: Final = 4 * 1024 * 1024
#: In seconds: a listener answers in a millisecond; one that does not in this time hangs.
ASK_TIMEOUT_S: Final = 5.0


def socket_path(where: Where) -> str:
    """Return where the listener's socket is, whether or not one listens there."""
    return door.socket_path(where.runtime_dir)


def surroundings(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return what tells a listener who asks, and on which bus, as `config` reads it.

    Raises:
        BadSetup: as `places.working_folder`.
    """
    return {"folder": places.working_folder(environ), "environ": words.variables(environ)}


def line(message: Mapping[str, Any]) -> bytes:
    """Return a message as it goes over the socket."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def message(received: bytes) -> dict[str, Any]:
    """Return the message in a line.

    Raises:
        ValueError: it is no JSON object, nests too deep, or was cut.
    """
    if not received.endswith(b"\n"):
        raise ValueError("The line has no end.")
    try:
        content = json.loads(received)
    except RecursionError:
        raise ValueError("The line nests too deep.") from None
    if not isinstance(content, dict):
        raise ValueError("The line is no JSON object.")  # noqa: TRY004  # as of any bad JSON
    return content


def connect(where: Where) -> socket.socket:
    """Return a connection to this user's listener, with a time limit on every step.

    Raises:
        OSError: none listens, or it is somebody else's.
    """
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(ASK_TIMEOUT_S)
        door.open_(connection, where.runtime_dir)
    except BaseException:
        connection.close()
        raise
    return connection


def exchange(connection: socket.socket, request: Mapping[str, Any]) -> dict[str, Any]:
    """Send a request and return the line that answers it; what comes right behind is lost.

    Raises:
        OSError: the connection ended, or its time limit passed.
        ValueError: the answer is no message.
    """
    connection.sendall(line(request))
    with connection.makefile("rb") as lines:
        return message(lines.readline(ANSWER_MAX_BYTES))


def ask(where: Where, request: Mapping[str, Any]) -> dict[str, Any]:
    """Ask the listener one thing and return its answer; for commands and hooks.

    Raises:
        NoListener: none runs, or it has ended; SilentListener: none that answers here.
        AgentbusError: it refused; the message says why.
    """
    was_asked = False
    try:
        with connect(where) as connection:
            was_asked = True
            answer = exchange(connection, request)
    except (OSError, ValueError) as failed:
        error = _absence(where, failed)
        error.was_asked = was_asked
        raise error from None
    if "error" in answer:
        raise AgentbusError(str(answer["error"]), hint=str(answer.get("hint", "")))
    return answer


def _absence(where: Where, failed: Exception) -> NoListener:
    """Return why no listener has answered, as a connection failed."""
    if isinstance(failed, TimeoutError):
        return SilentListener(
            "The listener does not answer.", hint="Run `agentbus listen --replace`."
        )
    # Imported late: whoever is answered does without it.
    from mcp_agentbus.relay import seat

    return seat.absence(where)
