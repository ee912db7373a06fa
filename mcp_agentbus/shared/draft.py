# SPDX-License-Identifier: Apache-2.0
"""Files that are to be written into a folder, and what will be there then.

>>> draft = Draft(folder)
>>> draft.keep(folder / "nats.conf", b"listen: ...", "where it listens")
>>> draft.content(folder / "nats.conf")
b'listen: ...'
>>> write(folder, draft.taken())
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mcp_agentbus.core.files import check_private, own_folder, read_whole, unusable, write_whole

#: Why a file is written that was not there.
NEW: Final = "new"


@dataclass(frozen=True)
class FileChange:
    """A file that is to be written."""

    file: Path
    content: bytes
    #: For a person: which, and why.
    said: str
    #: Whether another content was there.
    is_other: bool = False


class FolderDraft:
    """What is to be written into a folder, which is read as if it were there already."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._contents: dict[Path, bytes] = {}
        self._changes: list[FileChange] = []

    def taken(self) -> tuple[FileChange, ...]:
        """Return what was put into it since this was asked before."""
        changes, self._changes = tuple(self._changes), []
        return changes

    def content(self, file: Path) -> bytes | None:
        """Return what a file holds; None if there is none."""
        try:
            return self._contents.get(file) or read_whole(file)
        except FileNotFoundError:
            return None

    def secret(self, file: Path) -> bytes | None:
        """Return the same of a file that only its user may read.

        Raises:
            BadSetup: others may.
        """
        try:
            if file not in self._contents:
                check_private(file)
        except FileNotFoundError:
            return None
        return self.content(file)

    def put(self, file: Path, content: bytes, why: str = NEW, *, is_other: bool = False) -> None:
        """Have a file be written."""
        self._contents[file] = content
        said = f"{file.relative_to(self._folder)}: {why}"
        self._changes.append(FileChange(file, content, said, is_other))

    def keep(self, file: Path, content: bytes, what: str) -> None:
        """Have a file hold this; `what` may have changed if it held something else."""
        there = self.content(file)
        if there is None:
            self.put(file, content)
        elif there != content:
            self.put(file, content, f"{what} has changed", is_other=True)


def write(folder: Path, changes: Iterable[FileChange], *others: Path) -> None:
    """Write files of a folder, which is made with some `others` if it is not there.

    Raises:
        BadSetup: a file cannot be written.
    """
    try:
        for each in (folder, *others):
            own_folder(each)
        folder.chmod(0o700)
        for change in changes:
            own_folder(change.file.parent)
            if change.is_other and change.file.name == "nats.conf":  # somebody may have added
                write_whole(change.file.with_name("nats.conf.before"), read_whole(change.file))
            write_whole(change.file, change.content)
    except OSError as error:
        raise unusable(error, folder, done="written") from None
