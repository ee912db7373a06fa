# SPDX-License-Identifier: Apache-2.0
r"""The headers of a message as bytes: read, made, and marked as the gate marks what it passes on.

>>> read(b"NATS/1.0\r\nAgentbus-Task: 9d\r\n\r\n")
{'Agentbus-Task': '9d'}
>>> marked(b"", "agentbus.coder.tasks.high.planner")
b'NATS/1.0\r\nAgentbus-Gate-Subject: agentbus.coder.tasks.high.planner\r\n\r\n'
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from mcp_agentbus.bus.login.account import H_ACK, H_SUBJECT

_LINE: Final = b"NATS/1.0"
_END: Final = b"\r\n"
#: What a server says of a message that is not there.
NOT_FOUND: Final = b"NATS/1.0 404 Message Not Found\r\n\r\n"
# How the headers begin that only a gate makes.
_OURS: Final = b"agentbus-gate-"
_OF_GATE: Final = re.compile(rb"(?im)^[ \t]*agentbus-gate-[^\r\n]*\r\n")
_NAME: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
# Of one header's value, in characters: the chain of a task is its longest.
_VALUE_MAX_CHARS: Final = 2_000
# Of all headers of a message so many are read.
_HEADERS_MAX: Final = 64


def read(head: bytes) -> dict[str, str]:
    """Return the headers that can be read; of two with one name the first counts."""
    lines = head.split(_END, 1 + _HEADERS_MAX)[1 : 1 + _HEADERS_MAX]
    named: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.decode(errors="replace").partition(":")
        value = value.strip()
        if colon and _NAME.fullmatch(name) and value.isprintable():
            named.setdefault(name, value[:_VALUE_MAX_CHARS])
    return named


def made(headers: Mapping[str, str]) -> bytes:
    """Return headers as bytes; empty for none. They are ours, or `read` has read them."""
    if not headers:
        return b""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return _LINE + _END + lines.encode() + _END


def status(head: bytes) -> bytes:
    """Return the server's status, such as `404`; empty for a message with content."""
    line, _, _ = head[len(_LINE) :].partition(_END)
    return line.strip()[:3]


def clean(head: bytes) -> bytes:
    """Return a head without what only a gate says."""
    return _OF_GATE.sub(b"", head) if _OURS in head.lower() else head


def marked(head: bytes, subject: str = "", ack: str = "") -> bytes:
    """Return the head of what the gate passes on.

    Args:
        head: as it came.
        subject: which it has on the bus.
        ack: by what it is acknowledged there, if it is to be.
    """
    line, end, rest = clean(head).partition(_END)
    ours = f"{H_SUBJECT}: {subject}\r\n"
    if ack:
        ours += f"{H_ACK}: {ack}\r\n"
    return (line if end else _LINE) + _END + ours.encode() + (rest if end else _END)


def stored_on(head: bytes) -> str:
    """Return the subject of a message that was read directly; empty for any other."""
    return _last(head, b"Nats-Subject")


def sequence(head: bytes) -> int:
    """Return the sequence of a message that was read directly."""
    return _number(head, b"Nats-Sequence")


def pending(head: bytes) -> int:
    """Return of how many messages the server says that they follow what it has answered."""
    return _number(head, b"Nats-Num-Pending")


def _number(head: bytes, name: bytes) -> int:
    number = _last(head, name)
    return int(number) if number.isdecimal() else 0


def _last(head: bytes, name: bytes) -> str:
    """Return what the server says: its own headers stand behind those of the message."""
    _, name_, rest = head.rpartition(_END + name + b": ")
    return rest.partition(_END)[0].decode(errors="replace") if name_ else ""
