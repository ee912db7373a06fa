# SPDX-License-Identifier: Apache-2.0
"""A file of ours in a folder of somebody else's: written whole, and removed.

    >>> write(Path("/home/me/.config/systemd/user/agentbus-listen.service"), b"[Unit]...")

What goes wrong is told in a sentence, as `BadSetup`.
"""

from __future__ import annotations

from pathlib import Path

from mcp_agentbus.core import files
from mcp_agentbus.errors import BadSetup


def write(file: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a file and the folders above it; everybody may read it unless `mode` says otherwise.

    Raises:
        BadSetup: it cannot be written.
    """
    try:
        # Of a private file the folder is private, too.
        folder = 0o777 if mode & 0o044 else 0o700
        file.parent.mkdir(mode=folder, parents=True, exist_ok=True)
        files.write_whole(file, content, mode=mode)
    except OSError as error:
        raise BadSetup(f"{file} cannot be written: {error.strerror}.") from None


def remove(file: Path) -> None:
    """Remove a file or a link, if it is there.

    Raises:
        BadSetup: it cannot be removed.
    """
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise BadSetup(f"{file} cannot be removed: {error.strerror}.") from None
