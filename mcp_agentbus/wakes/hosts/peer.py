# SPDX-License-Identifier: Apache-2.0
"""Whose process is at the other end of a connection on this machine, before it is told a secret.

    >>> owner(connection.sock)
    1000

A port of loopback is whoever's takes it first, also another user's while a program of ours is down.
Where the kernel lists no such thing, as on macOS, or it is elsewhere, nobody can tell.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from mcp_agentbus.core.files import read_whole

# What Linux knows of each TCP socket: of which addresses, in which state, whose.
_TABLES: Final = ("/proc/self/net/tcp", "/proc/self/net/tcp6")
# Of a machine with 300,000 connections it is not looked through.
_TABLE_MAX_BYTES: Final = 48 << 20
_LISTENS: Final = "0A"
_ANY: Final = ("0.0.0.0", "::")  # noqa: S104  # compared with


@dataclass(frozen=True)
class _Row:
    local: str
    remote: str
    is_listening: bool
    uid: int
    #: Not so of a connection that its listener has not taken yet: that is nobody's.
    is_taken: bool


def is_anothers(sock: socket.socket) -> bool:
    """Tell whether it is known that another user than this one, or root, is at the other end."""
    return owner(sock) not in {None, 0, os.geteuid()}


def owner(sock: socket.socket) -> int | None:
    """Return the number of the user at the other end; None if that cannot be told."""
    (host, port), (our_host, our_port) = sock.getpeername()[:2], sock.getsockname()[:2]
    theirs, ours = _spelled(host, port), _spelled(our_host, our_port)
    rows = list(_rows())
    for row in rows:
        if row.is_taken and row.local in theirs and row.remote in ours:
            return row.uid
    at_it = theirs.union(*(_spelled(each, port) for each in _ANY))
    users = {row.uid for row in rows if row.is_listening and row.local in at_it}
    return max(users, key=lambda uid: uid not in {0, os.geteuid()}, default=None)


def _rows() -> Iterator[_Row]:
    """Yield what the kernel says of each socket."""
    for table in _TABLES:
        with suppress(OSError):
            for line in read_whole(table, _TABLE_MAX_BYTES).decode("ascii").splitlines()[1:]:
                _, local, remote, state, _, _, _, uid, _, inode, *_ = line.split()
                is_listening = state == _LISTENS
                is_taken = inode != "0" and not is_listening
                yield _Row(local, remote, is_listening, int(uid), is_taken)


def _spelled(host: str, port: int) -> set[str]:
    """Return an address as the kernel writes it in its tables: an older one stands in both."""
    ip = ipaddress.ip_address(host.partition("%")[0])
    forms = {ip.packed}
    if isinstance(ip, ipaddress.IPv4Address):
        forms.add(ipaddress.ip_address(f"::ffff:{host}").packed)
    return {f"{_hex(packed)}:{port:04X}" for packed in forms}


def _hex(packed: bytes) -> str:
    words = (packed[at : at + 4] for at in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
