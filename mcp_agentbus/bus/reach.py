# SPDX-License-Identifier: Apache-2.0
"""Whether this process can reach a server that runs on this machine: why not, and what mends it.

    >>> raise cut_off(server, lock)
    OutOfReach: The bus server (pid 4711 ...) runs in another network, as a sandbox has one ...

A sandbox, and a container, has a network of its own: what listens on loopback in there is heard in
there alone. A socket in the file system passes, and so a listener outside does for those inside.
"""

from __future__ import annotations

import shlex
import socket
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Final

from mcp_agentbus.bus.own.program import other_binary
from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import processes
from mcp_agentbus.core.files import read_end, read_whole, shell_word
from mcp_agentbus.core.processes import Process
from mcp_agentbus.errors import BadSetup, BusUnreachable, OutOfReach

# What every new network of Linux has: its loopback, and one end of each kind of tunnel.
_EVERYWHERE: Final = ("lo", "tunl0", "sit0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6")
# On loopback an answer takes microseconds, if one comes.
_LOOPBACK_S: Final = 0.5
_THROUGH: Final = "commands and sessions in here then go through its socket."
#: Where no listener runs outside, see `listener.carried.outside`.
LISTEN: Final = f"Run `agentbus listen` outside this sandbox: {_THROUGH}"
_BRING_OUT: Final = (
    "Run `agentbus server stop && agentbus listen` outside all sandboxes: what is stored is kept, "
    f"and {_THROUGH}"
)
# The last three lines of a log are in there.
_END_OF_LOG_BYTES: Final = 8 * 1024
# Of a full disk, when a server could not write its address; the file stays empty.
_UNWRITTEN: Final = "Error writing ports file"
# How a program of Go begins to say why it breaks, and what it says where it gets no memory.
_BREAKS: Final = ("fatal error: ", "panic: ", "runtime: ")
_NO_MEMORY: Final = ("page summary memory", "out of memory", "cannot allocate memory")
_KEPT: Final = "then this again: all that it has stored is kept."


def cut_off(server: Process, lock: Path) -> OutOfReach | None:
    """Return why nothing here reaches a server that holds its lock, if it is out of reach.

    Args:
        server: as it was noted when it was started.
        lock: the file that it holds.
    """
    ours = processes.network()
    if not ours or server.network in {"", ours}:
        return None if loopback_works() else no_loopback()
    who = f"The bus server ({server.where}) runs"
    if is_isolated() and _is_isolated(server):
        return OutOfReach(
            f"{who} in another sandbox than this one: nothing outside reaches it either.",
            hint=_BRING_OUT,
        )
    if is_isolated():
        return OutOfReach(f"{who} outside this sandbox, whose network leads nowhere.", hint=LISTEN)
    return OutOfReach(
        f"{who} in another network, as a sandbox or a container has one of its own: nothing out "
        "here reaches it.",
        hint=f"{ending(server, lock)}, {_KEPT}",
    )


def ending(server: Process, lock: Path, *, first: str = "agentbus server stop; ") -> str:
    """Return the words for ending a server, from here if that can be.

    A kill alone would not last: whoever starts servers again takes it for a crash.

    Args:
        server: as it was noted when it was started.
        lock: the file that it holds.
        first: what is typed before a kill.
    """
    if server.is_here:
        return "Run `agentbus server stop`"
    if pids := processes.holding(str(lock)):
        return f"Run: {first}kill {pids[0]}"
    return f"Run `agentbus server stop` there, on host {server.host or '?'}"


def not_ours(holder: Process | None, lock: Path) -> BadSetup:
    """Return the error about a server that is not for this process to stop."""
    if holder and not holder.is_here:
        return BadSetup(
            f"The bus server runs elsewhere: {holder.where}. It was left alone.",
            hint=f"{ending(holder, lock, first='')}.",
        )
    return BadSetup(
        f"{lock} is held by a process that is no bus server of yours. It was left alone.",
        hint=f"See which one: fuser -v {shell_word(lock)}",
    )


def untold(ports: Path, log: Path) -> BusUnreachable | None:
    """Return why nobody learns where a server listens that has just started: it has no room for it.

    Args:
        ports: the folder in which it writes its address.
        log: its own log.
    """
    if not (any(map(_is_empty, ports.glob("*.ports"))) and _UNWRITTEN in end_of_log(log)):
        return None
    folder = shlex.quote(str(ports.parent))
    return BusUnreachable(
        "The disk is full, so the bus server did not start. What it has stored is kept.",
        hint=f"Free some disk space, then run this again; see: df -h {folder}; df -i {folder}",
    )


def _is_empty(file: Path) -> bool:
    """Tell whether there is nothing in a file; false of one that goes as its server ends."""
    with suppress(FileNotFoundError):
        return file.stat().st_size == 0
    return False


def end_of_log(log: Path) -> str:
    """Return what a server said last."""
    with suppress(OSError):
        lines = read_end(log, _END_OF_LOG_BYTES).decode(errors="replace").splitlines()
        # One that breaks says why, and behind that where, in a hundred lines.
        rest = takewhile(lambda line: not line.startswith("["), reversed(lines))
        why = [line for line in rest if line.startswith(_BREAKS)]
        return f"The end of {log}: " + " | ".join(why[-1:] or lines[-3:])
    return f"There is no log at {log}."


def mends(end: str, settings: Settings) -> str:
    """Return what to do about a server that did not start, by the end of its log; empty: nothing.

    Args:
        end: as `end_of_log` has told it.
        settings: by which it was started; they may name a program of the user's own.
    """
    if any(words in end for words in _NO_MEMORY):
        return "It needs a GiB of address space; see what it may have here: ulimit -v"
    return other_binary(settings) if settings.binary else ""


def no_loopback() -> OutOfReach:
    """Return the error of a process that may not even speak to itself."""
    message = "This sandbox has no network, not even loopback: no bus server can be reached in it."
    return OutOfReach(message, hint=LISTEN)


def loopback_works() -> bool:
    """Tell whether processes of this network reach each other: a sandbox may forbid it."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), _LOOPBACK_S).close()
    except OSError:
        return False
    return True


def free_port(last: Path) -> int:
    """Return the port of last time, of its file, if nobody has it, else -1: any."""
    try:
        port = int(read_whole(last)) or -1  # 0 would be NATS's default, 4222
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except (OSError, ValueError, OverflowError):
        return -1
    return port


def is_isolated() -> bool:
    """Tell whether this network leads nowhere: it has loopback only."""
    try:
        return all(name.startswith(_EVERYWHERE) for _, name in socket.if_nameindex())
    except OSError:
        return False


def _is_isolated(server: Process) -> bool:
    """Tell the same of the network of a server, where it can be looked at from here."""
    try:
        # Two lines of headings, then one for each interface, with its name before the colon.
        lines = Path(f"/proc/{server.pid}/net/dev").read_text(encoding="ascii").splitlines()[2:]
    except (OSError, ValueError):
        return False
    return server.is_here and all(line.strip().startswith(_EVERYWHERE) for line in lines)
