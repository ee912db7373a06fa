# SPDX-License-Identifier: Apache-2.0
"""The address of a webhook, from a 0600 file: by TLS, or on this machine.

    >>> of(Path("~/.config/agentbus/human.url"))
    SplitResult(scheme='https', netloc='hooks.example.org', ...)

It is a secret: no message has any of it.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from mcp_agentbus.config.values import LOOPBACK
from mcp_agentbus.core.files import read_whole, unusable
from mcp_agentbus.errors import BadSetup


def of(file: Path) -> SplitResult:
    """Return the parts of the address in a file.

    Raises:
        BadSetup: the file cannot be read, or what it holds is no address that may get anything.
    """
    try:
        written = read_whole(file).decode(errors="replace").strip()
    except OSError as error:
        raise unusable(error, file, done="read") from None
    with suppress(ValueError):  # whose text may hold a piece of a secret
        parts = urlsplit(written)
        safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
        plain = written.isascii() and written.isprintable() and " " not in written
        if safe and plain and parts.hostname and parts.port != 0 and "@" not in parts.netloc:
            return parts
    raise BadSetup(
        f"{file} holds no address of a webhook.",
        hint="Put one https:// URL into it, without a login before an @; http:// on this machine.",
    )
