# SPDX-License-Identifier: Apache-2.0
"""By which names and addresses a server is reached, and where it listens.

>>> listening("10.0.0.7")
('10.0.0.7', 4222)
>>> server_name("Bus.example.org")
'bus.example.org'
"""

from __future__ import annotations

import ipaddress
import re
import socket
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from mcp_agentbus.errors import BadInput

#: By these every server is known on its own machine.
OWN_NAMES: Final = ("127.0.0.1", "::1", "localhost")
#: Of NATS.
PORT: Final = 4222
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# The last part is no number, as in an address that lacks a part.
_NAME: Final = re.compile(rf"(?:{_LABEL}\.)*(?!\d+$){_LABEL}")
_NAME_MAX_CHARS: Final = 253
# For documentation (RFC 5737): nothing is sent there, the system is only asked which way it is.
_ELSEWHERE: Final = ("192.0.2.1", 9)


def listening(given: str) -> tuple[str, int]:
    """Return the address, without brackets, and the port that `ADDR[:PORT]` names.

    Raises:
        BadInput: it names none.
    """
    with suppress(ValueError):
        return _address(given), PORT
    try:
        where = urlsplit(f"//{given}")
        host, port = where.hostname or "", PORT if where.port is None else where.port
        if port and where.netloc == given and "@" not in given:
            return _address(host), port
    except ValueError:
        pass
    raise BadInput(
        f"{given[:100]!r} is no address of this machine.",
        hint="Give --listen such as 10.0.0.7, 0.0.0.0:4222 or [::]:4222.",
    )


def _address(given: str) -> str:
    """Return an IP address as it is written; one of a single link is none."""
    if "%" in given:
        raise ValueError(given)
    return str(ipaddress.ip_address(given))


def server_name(given: str) -> str:
    """Return a name or an address as a certificate has it.

    Raises:
        BadInput: it is none by which a machine is reached.
    """
    with suppress(ValueError):
        address = _address(given)
        if ipaddress.ip_address(address).is_unspecified:
            raise BadInput(
                f"{given} is every address and none by which others reach this machine.",
                hint="Give the address or name that other machines use.",
            )
        return address
    name = given.lower().rstrip(".")
    if not _NAME.fullmatch(name) or len(name) > _NAME_MAX_CHARS:
        raise BadInput(
            f"{given[:100]!r} is no name of a machine.",
            hint="Give letters, digits, dots and dashes, or an address.",
        )
    return name


def reached_at(given: str) -> tuple[str, int]:
    """Return the name or address, without brackets, and the port that `HOST[:PORT]` names.

    Raises:
        BadInput: it names none.
    """
    with suppress(ValueError):
        return server_name(_address(given)), PORT
    host, colon, port = given.rpartition(":")
    if not colon:
        return server_name(given), PORT
    if not (port.isascii() and port.isdecimal() and len(port) < 6 and 0 < int(port) < 1 << 16):
        what = f"{given[:100]!r} has no port from 1 to 65535 after its colon."
        raise BadInput(what, hint="Give HOST:PORT, such as a.example.org:4222 or [fd00::7]:4222.")
    return server_name(host.removeprefix("[").removesuffix("]")), int(port)


def folder_name(reached: str) -> str:
    """Return what a folder and a server are called by `HOST:PORT`; without the usual port."""
    return reached.removesuffix(f":{PORT}").strip("[]").replace("]", "").replace(":", "-")


def names_of_this_machine(host: str) -> tuple[str, ...]:
    """Return by what others may reach a server here that listens on `host`: the surest first."""
    if not ipaddress.ip_address(host).is_unspecified:
        return (host,)
    names = []
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(_ELSEWHERE)
        names.append(probe.getsockname()[0])
    with suppress(BadInput):
        names.append(server_name(socket.gethostname()))
    return tuple(dict.fromkeys(names)) or OWN_NAMES


def at(host: str, port: int) -> str:
    """Return `HOST:PORT`, an address of IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
