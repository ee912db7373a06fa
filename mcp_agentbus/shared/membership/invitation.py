# SPDX-License-Identifier: Apache-2.0
"""An invitation to a shared server as one line, which is a secret until it is used.

    >>> encode(Line(("tls://bus.example.org:4222",), ca, seed, id, secret, "laptop", expires_at))
    'agentbus-join-1-A7vnXn5x...'
    >>> decode(typed).name
    'laptop'

Behind its beginning stands, in base64 as for URLs, how long the rest is, a check sum of it, and it
itself in JSON: so that a line of which a piece is missing is told from one that is none.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from mcp_agentbus.config.sections.server import check_url
from mcp_agentbus.core import ids, programs
from mcp_agentbus.core.text import from_json, stamp
from mcp_agentbus.errors import BadInput, BadSetup
from mcp_agentbus.shared.authority import is_certificate

_BEGINS: Final = "agentbus-join-"
_VERSION: Final = 1
# The most that is read of what is given for a line: one with three servers and an authority has
# about 1,500 characters.
CHARS_MAX: Final = 16_384
# Of the length, in bytes, and of the check sum.
_LENGTH: Final = 2
_SUM: Final = 6
_ID: Final = re.compile(r"[0-9a-f]{16}")
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{20,128}")
_SEED: Final = re.compile(r"SU[A-Z2-7]{56}")
_CERTIFICATE: Final = re.compile(
    r"-----BEGIN CERTIFICATE-----\s.+?-----END CERTIFICATE-----", re.DOTALL
)
_WHOLE: Final = (
    "Copy the whole line, from agentbus-join- to its end, as `agentbus server invite` printed it."
)


@dataclass(frozen=True)
class Line:
    """What a line says; its secrets are shown in no `repr`."""

    #: Where the servers are, in the order in which they are tried.
    urls: tuple[str, ...]
    #: The certificates of who signs theirs, in PEM; empty if that is a public authority.
    ca_pem: str
    #: The seed of the key that may say nothing there but to the lobby.
    lobby_seed: str = field(repr=False)
    #: Which invitation it is: 16 digits of base 16.
    id: str
    #: What proves that this is its line: 20 to 128 letters, digits, `-` and `_`.
    secret: str = field(repr=False)
    #: What who joins by it is called there.
    name: str
    expires_at: datetime


def encode(line: Line) -> str:
    """Return the line. It has neither spaces nor ends of lines in it."""
    certificates = _CERTIFICATE.findall(line.ca_pem)
    said = {
        "urls": line.urls,
        "ca": [_base64(ssl.PEM_cert_to_DER_cert(each)) for each in certificates],
        "lobby": line.lobby_seed,
        "id": line.id,
        "secret": line.secret,
        "name": line.name,
        "expires": stamp(line.expires_at),
    }
    content = json.dumps(said, separators=(",", ":")).encode()
    raw = len(content).to_bytes(_LENGTH) + _sum(content) + content
    return f"{_BEGINS}{_VERSION}-{_base64(raw)}"


def decode(given: str) -> Line:
    """Read a line; ends of lines and spaces that a terminal or a mail has put into it are left out.

    Raises:
        BadInput: it is none, or not all of it, or of a later version. Its text is not shown.
    """
    written = "".join(given.split()).strip("\"'`")
    if not written:
        raise BadInput("No line of an invitation was given. Nothing was done.", hint=_WHOLE)
    if not written.startswith(_BEGINS):
        raise BadInput("That is no line of an invitation. Nothing was done.", hint=_WHOLE)
    version, _, content = written.removeprefix(_BEGINS).partition("-")
    if version != str(_VERSION) and version.isdecimal() and content:
        raise BadInput(
            "That line is of another version of agentbus. Nothing was done.",
            hint=f"Install the version that the server has: {programs.install_line('upgrade')}",
        )
    if version != str(_VERSION) or not content:
        raise _cut()
    return _line(_content(content))


def _content(encoded: str) -> bytes:
    """Return what stands behind a line's beginning, if all of it does."""
    try:
        raw = _raw(encoded)
    except ValueError:
        whole = len(encoded) % 4 == 1 and re.fullmatch(r"[A-Za-z0-9_-]*", encoded)
        raise (_cut() if whole else _changed()) from None
    head, content = raw[: _LENGTH + _SUM], raw[_LENGTH + _SUM :]
    length = int.from_bytes(head[:_LENGTH])
    if len(head) < _LENGTH + _SUM or len(content) < length:
        raise _cut()
    if len(content) > length or _sum(content) != head[_LENGTH:]:
        raise _changed()
    return content


def _line(content: bytes) -> Line:
    try:
        said: Any = from_json(content)
        line = _read(said)
        for url in line.urls:
            check_url(url, "The line", allow_plaintext=False)
    except (LookupError, TypeError, ValueError, BadSetup):
        raise BadInput(
            "That line is whole, and does not say what an invitation says. Nothing was done.",
            hint="Ask whoever runs the server for another: agentbus server invite NAME",
        ) from None
    return line


def _read(said: Mapping[str, Any]) -> Line:
    """Return what the JSON says.

    Raises:
        LookupError, TypeError, ValueError: something is not there, or is not what it should be.
    """
    texts = {key: str(said[key]) for key in ("lobby", "id", "secret", "name")}
    rules = ((_SEED, "lobby"), (_ID, "id"), (_SECRET, "secret"))
    if not all(rule.fullmatch(texts[key]) for rule, key in rules):
        raise ValueError("a key, an id or a secret is not spelled as one")
    urls, expires_at = tuple(map(str, said["urls"])), datetime.fromisoformat(said["expires"])
    if not urls or not ids.is_agent(texts["name"]) or expires_at.tzinfo is None:
        raise ValueError("no server, no name or no time")
    certificates = [ssl.DER_cert_to_PEM_cert(_raw(each)) for each in said["ca"]]
    if not all(is_certificate(each.encode()) for each in certificates):
        raise ValueError("a certificate is none")
    return Line(
        urls=urls,
        ca_pem="".join(certificates),
        lobby_seed=texts["lobby"],
        id=texts["id"],
        secret=texts["secret"],
        name=texts["name"],
        expires_at=expires_at,
    )


def _cut() -> BadInput:
    return BadInput("That line is cut: its end is missing. Nothing was done.", hint=_WHOLE)


def _changed() -> BadInput:
    return BadInput("That line was changed on its way here. Nothing was done.", hint=_WHOLE)


def _raw(written: str) -> bytes:
    padded = written + "=" * (-len(written) % 4)
    return base64.b64decode(padded, altchars=b"-_", validate=True)


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _sum(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:_SUM]
