# SPDX-License-Identifier: Apache-2.0
"""A file of ours in a folder of somebody else's: read, written whole, and removed.

    >>> write(Path("/home/me/.config/systemd/user/agentbus-listen.service"), b"[Unit]...")

What goes wrong is told in a sentence, as `BadSetup`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mcp_agentbus.core.files import read_whole, write_whole
from mcp_agentbus.core.places import make_private
from mcp_agentbus.errors import BadSetup

#: Of folders that are made among a host's: what is in them is executed, so others may not write
#: there, whatever the umask.
FOLDER_MODE: Final = 0o755


@contextmanager
def told(path: Path, undone: str) -> Iterator[None]:
    """Have an OSError of what is done to `path` say what was not done: "written", "read".

    Raises:
        BadSetup: instead of the OSError.
    """
    try:
        yield
    except OSError as error:
        raise BadSetup(f"{path} cannot be {undone}: {error.strerror}.") from None


def content(file: Path) -> bytes | None:
    """Return what is in a file; None if there is none.

    Raises:
        BadSetup: it cannot be read.
    """
    with told(file, "read"):
        try:
            return read_whole(file)
        except FileNotFoundError:
            return None


def missing(folder: Path) -> list[Path]:
    """Return which of a folder and those above it are not there, the highest first."""
    return [place for place in (*reversed(folder.parents), folder) if not place.exists()]


def write(file: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a file and the folders above it; everybody may read it unless `mode` says otherwise.

    Raises:
        BadSetup: it cannot be written.
    """
    with told(file, "written"):
        if mode & 0o044:
            for place in missing(file.parent):
                place.mkdir(FOLDER_MODE, exist_ok=True)
        else:
            make_private(file.parent)
        write_whole(file, content, mode=mode)


def remove(file: Path) -> None:
    """Remove a file or a link, if it is there.

    Raises:
        BadSetup: it cannot be removed.
    """
    with told(file, "removed"):
        file.unlink(missing_ok=True)
