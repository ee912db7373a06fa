# SPDX-License-Identifier: Apache-2.0
"""The local socket between this user's processes: where it is, how it speaks, who may.

    >>> ask(settings, {"op": "status"})
    {'pid': 4711, 'agents': [...], ...}

Lines of JSON, each an object of at most 64 KiB, but for answers, which may tell of each agent.
A request names what it wants under `op`:

- one answer and the end: `status`, `mail` (a hook), `wake`, `reload` and others;
- `join` (see `member`): the connection stays open, and both sides speak when they like;
- `serve` (see `session`), `command` (see `command`): from the answer on the connection is a stream
  of that session's MCP, or of what that command prints.

Only this user's processes are answered: the kernel tells whose they are. It knows no bus, and no
more of the standard library than it must: each relayed session has it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import sys
from collections.abc import Generator, Mapping
from typing import Any, Final

from mcp_agentbus.core import hosts, places
from mcp_agentbus.core.places import Where
from mcp_agentbus.errors import AgentbusError, SilentListener

#: A line holds ids and numbers; this is far more than any of them needs.
LINE_MAX_BYTES: Final = 64 * 1024
#: What our own listener answers may be longer: 250 bytes for each of its agents.
ANSWER_MAX_BYTES: Final = 4 * 1024 * 1024
#: In seconds: a listener answers in a millisecond; one that does not in this time hangs.
ASK_TIMEOUT_S: Final = 5.0
# What `sun_path` holds on Linux is 108 bytes, on macOS 104, with the zero at its end.
_PATH_MAX_BYTES: Final = 103
# How the variables begin on which the configuration depends, and who somebody is; see `config`.
_SENT: Final = ("AGENTBUS_", "HOME", "XDG_", *hosts.MARKS)
_LINUX: Final = sys.platform == "linux"


def socket_path(where: Where) -> str:
    """Return where the listener's socket is, whether or not one listens there."""
    return f"{where.runtime_dir}/listener.sock"


@contextlib.contextmanager
def address(path: str) -> Generator[str]:
    """Yield the address of a socket file, short enough for the kernel.

    Raises:
        OSError: its folder is not there, or its path is too long for this system.
    """
    if len(os.fsencode(path)) <= _PATH_MAX_BYTES or not _LINUX:
        yield path
        return
    folder, _, name = path.rpartition("/")
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)


def surroundings(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return what tells a listener who asks, and on which bus, as `config` reads it.

    Raises:
        BadSetup: as `places.working_folder`.
    """
    sent = {name: value for name, value in environ.items() if name.startswith(_SENT)}
    sent |= hosts.said(environ)  # only this process can see its ancestors
    if home := places.home(environ):  # the listener has another folder
        sent["AGENTBUS_HOME"] = home
    return {"folder": places.working_folder(environ), "environ": sent}


def peer(connection: socket.socket) -> tuple[int, int]:
    """Return the user id and process id at the other end, as the kernel knows them.

    Raises:
        OSError: the connection has ended.
    """
    if _LINUX:
        credentials = connection.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
        )
        pid, uid, _ = struct.unpack("3i", credentials)
        return uid, pid
    # macOS: SOL_LOCAL 0, LOCAL_PEERCRED 1 (struct xucred: version, uid), LOCAL_PEERPID 2.
    _, uid = struct.unpack("2I", connection.getsockopt(0, 1, struct.calcsize("2I") + 72)[:8])
    (pid,) = struct.unpack("i", connection.getsockopt(0, 2, 4))
    return uid, pid


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
        with address(socket_path(where)) as short:
            try:
                connection.connect(short)
            except BlockingIOError as error:  # so many wait for it that no more are let in
                raise TimeoutError from error
        if peer(connection)[0] != os.getuid():
            raise PermissionError("Somebody else listens on this user's socket.")
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
        NoListener: none runs; SilentListener: none that answers here.
        AgentbusError: it refused; the message says why.
    """
    try:
        with connect(where) as connection:
            answer = exchange(connection, request)
    except TimeoutError:
        raise SilentListener(
            "The listener does not answer.", hint="Run `agentbus listen --replace`."
        ) from None
    except (OSError, ValueError):
        # Imported late: whoever is answered does without it.
        from mcp_agentbus.relay import seat

        raise seat.absence(where) from None
    if "error" in answer:
        raise AgentbusError(str(answer["error"]), hint=str(answer.get("hint", "")))
    return answer
