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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mcp_agentbus.config.tables import (
    Key,
    as_word,
    checked,
    checked_roles,
    of_type,
    parse_toml,
    readers,
)
from mcp_agentbus.config.values import description
from mcp_agentbus.core.files import is_open, read_whole, unusable, what_lies_at
from mcp_agentbus.core.framing import one_line
from mcp_agentbus.core.ids import Agent, agent_id, role_name
from mcp_agentbus.errors import BadInput, BadSetup

FOLDER_FILE: Final = ".agentbus.toml"
#: It has a few lines; what is larger is something else.
BYTES_MAX: Final = 64 * 1024
#: Every key of a FOLDER_FILE.
FOLDER_KEYS: Final = (
    Key("agent", of_type(str), Agent,
        "Who a session in this folder, or below it, is; counts if nobody else has that name.",
        '"reviewer"', "the folder's name with the host's", field="id"),
    Key("description", description, Agent,
        "One line for `list_agents`, of at most 300 characters.",
        '"Reviews changes of the shop"', "none"),
    Key("roles", of_type(list), Agent,
        "Shared inboxes that it reads besides its own: `role:NAME`, 16 at most; they count once "
        "you have said `agentbus agent allow FOLDER`.",
        '["review"]', "none"),
)  # fmt: skip
_IN_FOLDER: Final = readers(FOLDER_KEYS)
KNOWN: Final = tuple(_IN_FOLDER)


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
    #: How many of its keys do not exist, and are passed over.
    unknown: int = 0

    @property
    def asks(self) -> list[str]:
        """What its user allows by `agentbus agent allow`: the name, and each role."""
        return [self.agent, *self.roles]


def nearest(folder: Path) -> FolderFile:
    """Return what the nearest file says that counts, in this folder or above it.

    Raises:
        BadSetup: it is not TOML, or a value makes no sense; the message names the file.
    """
    for place, why_not in _files(folder):
        if not why_not and (read := _read(place)):
            return read
    return FolderFile()


def passed_over(folder: Path) -> list[str]:
    """Return each file in the folder or above it that does not count, and why, as a sentence."""
    return [f"{_shown(place / FOLDER_FILE)} {why}." for place, why in _files(folder) if why]


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the folders that have a file, from this one up, and why it does not count, if so.

    What lies above a worktree that is kept within another one, up to that one's folder, is said of
    the latter, which has an agent of its own: `shop/.claude/worktrees/fix`.
    """
    way = (folder, *folder.parents)
    others = {above for place in way for above in _of_another_worktree(place)}
    for depth, place in enumerate(way, 1):
        if place in others:
            continue
        try:
            about = what_lies_at(place / FOLDER_FILE)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            yield place, f"cannot be read: {error.strerror}"
            continue
        if about.st_uid != os.getuid():
            yield place, "belongs to another user"
        elif is_open(about):
            yield place, "can be changed by other users"
        elif open_to_others := next(filter(_is_open, way[:depth]), None):
            yield place, f"does not count, as other users may write into {_shown(open_to_others)}"
        elif about.st_size > BYTES_MAX:
            yield place, f"is larger than {BYTES_MAX // 1024} KiB"
        else:
            yield place, ""


def _of_another_worktree(folder: Path) -> list[Path]:
    """Return the folders above a worktree of git's that belong to the one which it was made from.

    None, if it lies elsewhere, or was made from a bare repository: the folder of that is no
    worktree, and holds what is said of all that lie there.
    """
    try:
        said = os.fsdecode(read_whole(folder / ".git", BYTES_MAX))
        kept, is_worktree, _ = said.removeprefix("gitdir:").strip().rpartition("/worktrees/")
        git = Path(os.path.normpath(folder / kept))
        # A bare one has no index, and mostly has another name.
        is_within = is_worktree and git.name == ".git" and git.parent in folder.parents
        if not is_within or not (git / "index").exists():
            return []
    except OSError:  # mostly there is no file of that name: nothing, or a folder
        return []
    parents = list(folder.parents)
    return parents[: parents.index(git.parent) + 1]


def _is_open(folder: Path) -> bool:
    """Tell whether others than this user may put a file into a folder."""
    try:
        return is_open(folder.stat())
    except OSError:
        return False


def _read(place: Path) -> FolderFile | None:
    file = place / FOLDER_FILE
    shown = _shown(file)
    try:
        about, content = file.stat(), read_whole(file, BYTES_MAX)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unusable(error, file, done="read") from None
    table = parse_toml(shown, content, is_strangers=True)
    # It travels with the code, so a key that is unknown here may be a newer version's.
    known = {key: value for key, value in table.items() if key in _IN_FOLDER}
    values = checked(known, _IN_FOLDER, shown)
    if values.get("agent"):
        _check(shown, "agent", agent_id, values["agent"])
    for role in values.get("roles", ()):
        _check(shown, "roles", role_name, as_word(role))
    roles = checked_roles(values.get("roles", ()), shown)
    return FolderFile(
        place,
        values.get("agent", ""),
        values.get("description", ""),
        roles,
        about.st_ctime,
        unknown=len(table) - len(known),
    )


def _shown(place: Path) -> str:
    """Return how a file or folder is named: what a folder is called may come with the code, too."""
    return one_line(str(place), 300)


def _check(file: str, key: str, rule: Callable[[str], str], name: str) -> None:
    try:
        rule(name)
    except BadInput as error:  # what stands there is somebody else's text, and is not repeated
        raise BadSetup(f"{file}: {key} has no name that can be used.", hint=error.hint) from None
