# SPDX-License-Identifier: Apache-2.0
"""A folder of ours among a host's own: copied whole, and taken away without what others put there.

    >>> copy(skill, Path("/home/me/.cursor/skills/using-agentbus"))
    True

A list of what was copied lies in the folder, so that a file which somebody has changed since is
known: it is neither overwritten nor removed.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

from mcp_agentbus.installers._parts import files

from mcp_agentbus.core.files import HOSTS_MAX_BYTES, read_whole
from mcp_agentbus.errors import BadSetup

LIST: Final = ".agentbus-files"
_NOTE: Final = "agentbus made this folder, and {} of the folders above it."
_LINE: Final = re.compile(r"([0-9a-f]{64})  (.+)")


def copy(source: Path, target: Path) -> bool:
    """Copy all files of a folder; take away what an older copy had; tell whether anything changed.

    Raises:
        BadSetup: something else is there, or it cannot be written.
    """
    made, had = _listed(target)
    contents = {
        str(path.relative_to(source)): read_whole(path)
        for path in sorted(source.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    if made is None:
        made = sum(not place.exists() for place in target.parents)
    for name, content in contents.items():
        there = _sum(target / name)
        if there not in {None, had.get(name), hashlib.sha256(content).hexdigest()}:
            hint = "Move it away, then run the command again."
            raise BadSetup(f"{target / name} is not as agentbus wrote it.", hint=hint)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    listed = [_NOTE.format(made), *(f"{digest}  {name}" for name, digest in sums.items()), ""]
    contents[LIST] = "\n".join(listed).encode()
    changed = False
    for name, content in contents.items():
        if _sum(target / name) != hashlib.sha256(content).hexdigest():
            files.write(target / name, content)
            changed = True
    stale = {name: digest for name, digest in had.items() if name not in sums}
    _remove_files(target, stale)
    return changed or bool(stale)


def is_there(target: Path) -> bool:
    """Tell whether a copy is there.

    Raises:
        BadSetup: something else is there.
    """
    return _listed(target)[0] is not None


def remove(target: Path) -> list[str]:
    """Take the copy away with the folders that were made for it; return what was left, and why.

    Raises:
        BadSetup: a file cannot be removed.
    """
    made, had = _listed(target)
    if made is None:
        return []
    _remove_files(target, {**had, LIST: _sum(target / LIST) or ""})
    for place in (target, *target.parents)[: made + 1]:
        with suppress(OSError):  # something else is in it
            place.rmdir()
    return [f"left {target / name}: it was changed" for name in had if (target / name).exists()]


def _remove_files(target: Path, sums: dict[str, str]) -> None:
    try:
        for name, digest in sums.items():
            if _sum(target / name) != digest:
                continue
            (target / name).unlink()
            for place in (target / name).parents:
                if place == target:
                    break
                with suppress(OSError):  # something else is in it
                    place.rmdir()
    except OSError as error:
        raise BadSetup(f"{error.filename} cannot be removed: {error.strerror}.") from None


def _listed(target: Path) -> tuple[int | None, dict[str, str]]:
    """Return how many folders were made, None without a copy; and the files with their sums."""
    if target.is_symlink():
        hint = "Take the link away, then run the command again."
        raise BadSetup(f"{target} is a symlink to {target.readlink()}.", hint=hint)
    try:
        first, *lines = read_whole(target / LIST).decode().splitlines()
        note = re.fullmatch(re.escape(_NOTE).replace(r"\{\}", r"(\d+)"), first)
    except FileNotFoundError:
        return None, {}
    except (OSError, ValueError) as error:
        raise BadSetup(f"{target / LIST} cannot be read: {error}.") from None
    copied = [(line[2], line[1]) for line in map(_LINE.fullmatch, lines) if line]
    return (int(note[1]) if note else 0), {
        name: digest
        for name, digest in copied
        if not Path(name).is_absolute() and ".." not in Path(name).parts
    }


def _sum(path: Path) -> str | None:
    """Return the file's SHA-256; None if there is none."""
    with files.told(path, "read"), suppress(FileNotFoundError, NotADirectoryError):
        return hashlib.sha256(read_whole(path, HOSTS_MAX_BYTES)).hexdigest()
    return None
