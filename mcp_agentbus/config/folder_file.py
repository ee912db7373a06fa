# SPDX-License-Identifier: Apache-2.0
"""`.agentbus.toml`: what a folder's own file says of those who work there, and whether it counts.

    >>> nearest(Path("/home/me/shop/src")).agent
    'reviewer'

It comes with other people's code, so it is read with care: one that others can change, or could
have put there, is passed over, and so is one that is larger than any need be. What it may claim,
`identity` decides.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mcp_agentbus.config.tables import Key, checked, checked_roles, of_type, parse_toml, readers
from mcp_agentbus.core.files import is_open
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BadSetup

FOLDER_FILE: Final = ".agentbus.toml"
#: It has a few lines; what is larger is something else.
BYTES_MAX: Final = 64 * 1024
#: Every key of a FOLDER_FILE.
FOLDER_KEYS: Final = (
    Key("agent", of_type(str), Agent,
        "Who a session in this folder, or below it, is; counts if nobody else has that name.",
        '"reviewer"', "the folder's name with the host's", field="id"),
    Key("description", of_type(str), Agent,
        "One line for `list_agents`.",
        '"Reviews changes of the shop"', "none"),
    Key("roles", of_type(list), Agent,
        "Shared inboxes that it reads besides its own: `role:NAME`, 16 at most; they count once "
        "you have said `agentbus agent allow FOLDER`.",
        '["review"]', "none"),
)  # fmt: skip
_IN_FOLDER: Final = readers(FOLDER_KEYS)


@dataclass(frozen=True)
class FolderFile:
    """What the file that counts says; all empty without one."""

    #: Where it lies.
    folder: Path = Path()
    agent: str = ""
    description: str = ""
    roles: tuple[str, ...] = ()
    #: When the file was put there or changed, which nobody can date back; seconds of the clock.
    changed_at: float = 0.0

    @property
    def asks(self) -> list[str]:
        """What its user allows by `agentbus agent allow`: the name, and each role."""
        return [self.agent, *self.roles]


def nearest(folder: Path) -> FolderFile:
    """Return what the nearest file says that counts, in this folder or above it.

    Raises:
        BadInput: a role's name is none.
        BadSetup: it is not TOML, a value has the wrong type, or there are too many roles.
    """
    for place, why_not in _files(folder):
        if not why_not and (read := _read(place)):
            return read
    return FolderFile()


def passed_over(folder: Path) -> list[str]:
    """Return each file in the folder or above it that does not count, and why, as a sentence."""
    return [f"{place / FOLDER_FILE} {why}." for place, why in _files(folder) if why]


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the folders that have a file, from this one up, and why it does not count, if so."""
    way = (folder, *folder.parents)
    for depth, place in enumerate(way, 1):
        try:
            about = (place / FOLDER_FILE).stat()
        except OSError:
            continue
        if not stat.S_ISREG(about.st_mode):
            continue
        if about.st_uid != os.getuid():
            yield place, "belongs to another user"
        elif is_open(about):
            yield place, "can be changed by other users"
        elif open_to_others := next(filter(_is_open, way[:depth]), None):
            yield place, f"does not count, as other users may write into {open_to_others}"
        elif about.st_size > BYTES_MAX:
            yield place, f"is larger than {BYTES_MAX // 1024} KiB"
        else:
            yield place, ""


def _is_open(folder: Path) -> bool:
    """Tell whether others than this user may put a file into a folder."""
    try:
        return is_open(folder.stat())
    except OSError:
        return False


def _read(place: Path) -> FolderFile | None:
    file = place / FOLDER_FILE
    try:
        with file.open("rb") as opened:
            about, content = os.fstat(opened.fileno()), opened.read(BYTES_MAX)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadSetup(f"{file} cannot be read: {error.strerror}.") from None
    table = parse_toml(file, content)
    # It travels with the code, so a key that is unknown here may be a newer version's.
    known = {key: value for key, value in table.items() if key in _IN_FOLDER}
    values = checked(known, _IN_FOLDER, str(file))
    roles = checked_roles(values.get("roles", ()), str(file))
    return FolderFile(
        place, values.get("agent", ""), values.get("description", ""), roles, about.st_ctime
    )
