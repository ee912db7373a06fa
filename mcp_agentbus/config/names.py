# SPDX-License-Identifier: Apache-2.0
"""The book of names: which folder of this machine has which agent's id.

    >>> with writing(settings) as book:
    ...     book.names["shop-claude"] = holder(Path("/home/me/shop"), "claude-code")
    >>> read(settings).of(Path("/home/me/shop"), "claude-code")
    'shop-claude'

A file of this user's alone, 0600 in the state folder, read at each start and written when a session
first calls a tool. It decides nothing: whose a name is to be, `identity` says.
"""

from __future__ import annotations

import json
import os
import platform
import stat
import time
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.config.settings import Settings
from mcp_agentbus.core import locks
from mcp_agentbus.core.files import (
    HOSTS_MAX_BYTES,
    check_private,
    read_whole,
    shell_word,
    unusable,
    write_whole,
)
from mcp_agentbus.core.text import from_json
from mcp_agentbus.errors import BadSetup

_FILE: Final = "names.json"
#: In the place of a host's name, of the name that this user has in all folders.
PERSON: Final = "person"
# Writing takes milliseconds; who waits longer, in seconds, waits for a process that was stopped.
_LOCK_S: Final = 2.0
_LOOK_AGAIN_S: Final = 0.01
# With so many names those of vanished folders go, too, which otherwise stay for a disk that is
# away and comes back.
_MANY: Final = 1_000


@dataclass(frozen=True)
class Holder:
    """A folder that has a name."""

    #: Its real path.
    folder: str
    #: The host whose sessions there have it; empty for all: a file in the folder names them. Of
    #: `PERSON` the folder is that of the book.
    host: str
    #: Where it was seen: of a folder of another machine's, or container's, nobody here can tell
    #: that it has vanished.
    machine: str

    def is_at(self, folder: Path) -> bool:
        """Tell whether it is this folder, whose name a file system may spell in more ways."""
        mine, given = self.folder, str(folder)
        if mine == given or mine.casefold() != given.casefold():
            return mine == given
        try:
            return os.path.samefile(mine, given)  # noqa: PTH121
        except OSError:
            return False

    def has_vanished(self) -> bool:
        """Tell whether the folder is there no more, as far as that can be seen."""
        if self.machine != platform.node():
            return False
        try:
            return not stat.S_ISDIR(Path(self.folder).stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:  # as of a closed one, or where a file system has gone away
            return False


@dataclass
class NameBook:
    """What is in the file."""

    #: When the first tool was called on this machine since there is such a book; None before that.
    since: float | None = None
    #: By the agent's id.
    names: dict[str, Holder] = field(default_factory=dict)
    #: The ids that were in use before: whose they were then, nobody has written down.
    before: frozenset[str] = frozenset()
    #: By folder: what its file says that its user has allowed, see `FolderFile.asks`.
    allowed: dict[str, list[str]] = field(default_factory=dict)
    #: Ids that agents had before they were renamed, each with what it became.
    renamed: dict[str, str] = field(default_factory=dict)

    def of(self, folder: Path, host: str) -> str | None:
        """Return the name that a folder has for a host's sessions; None if it has none yet."""
        held = (name for name, holder in self.names.items() if host and holder.host == host)
        return next((name for name in held if self.names[name].is_at(folder)), None)

    def person(self) -> str | None:
        """Return the name that this user has at a terminal; None if there is none yet."""
        held = (name for name, holder in self.names.items() if holder.host == PERSON)
        return next(held, None)

    def holder(self, name: str) -> Holder | None:
        """Return who has a name; None if nobody has, or the folder has vanished."""
        holder = self.names.get(name)
        return None if holder is None or holder.has_vanished() else holder

    def became(self, old: str, new: str) -> bool:
        """Tell whether an id is of the past, and is this other one now."""
        return self.renamed.get(old) == new and self.holder(old) in {None, self.holder(new)}

    def rename(self, old: str, new: str) -> None:
        """Note that what was one id is another from now on, and so are those before it."""
        self.renamed = {was: new if now == old else now for was, now in self.renamed.items()}
        self.renamed.pop(new, None)
        self.renamed[old] = new

    def begin(self, registered: Collection[str]) -> None:
        """Begin the book, if it has not begun, where these ids are in use until now."""
        if self.since is None:
            self.since, self.before = time.time(), frozenset(registered)


def holder(folder: Path, host: str) -> Holder:
    """Return a folder of this machine as the holder of a name."""
    return Holder(str(folder), host, platform.node())


def file_of(settings: Settings) -> Path:
    """Return where the book is."""
    return settings.state_dir / _FILE


def read(settings: Settings) -> NameBook:
    """Return the book; an empty one if there is none.

    Raises:
        BadSetup: it is open to others, or is no such book.
    """
    file = file_of(settings)
    try:
        check_private(file)
        kept = from_json(read_whole(file, HOSTS_MAX_BYTES))
        return NameBook(
            since=float(kept["since"]) if kept["since"] is not None else None,
            names={str(name): Holder(*map(str, held)) for name, held in kept["names"].items()},
            before=frozenset(map(str, kept["before"])),
            allowed={folder: list(map(str, said)) for folder, said in kept["allowed"].items()},
            renamed={str(was): str(now) for was, now in kept.get("renamed", {}).items()},
        )
    except (FileNotFoundError, NotADirectoryError):
        return NameBook()
    except OSError as error:
        raise unusable(error, file, done="read") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise BadSetup(
            f"{file}, the book of names, cannot be read.",
            hint="Move it away: each folder then gets its name anew, as the first that asks.",
        ) from None


@contextmanager
def writing(settings: Settings) -> Generator[NameBook]:
    """Yield the book while no other process writes it; keep what was changed in it.

    Raises:
        BadSetup: it cannot be read or written, or another process has it for too long.
    """
    file = file_of(settings)
    try:
        lock = _taken(file.with_suffix(".lock"))
        try:
            book = read(settings)
            before = _dumped(book)
            yield book
            if _dumped(book) != before:
                _forget_vanished(book)
                write_whole(file, _dumped(book))
        finally:
            os.close(lock)
    except OSError as error:
        raise unusable(error, file, done="written") from None


def _taken(file: Path) -> int:
    give_up = time.monotonic() + _LOCK_S
    while (lock := locks.take(file, wait=False)) is None:
        if time.monotonic() > give_up:
            raise BadSetup(
                f"Another process has {file} and does not let go of it.",
                hint=f"Call again; `fuser {shell_word(file)}` names that process.",
            )
        time.sleep(_LOOK_AGAIN_S)
    return lock


def _forget_vanished(book: NameBook) -> None:
    if len(book.names) > _MANY:
        for name, held in list(book.names.items()):
            if held.has_vanished():
                del book.names[name]


def _dumped(book: NameBook) -> bytes:
    kept: Mapping[str, Any] = {
        "since": book.since,
        "names": {name: [held.folder, held.host, held.machine]
                  for name, held in book.names.items()},
        "before": sorted(book.before),
        "allowed": book.allowed,
        "renamed": book.renamed,
    }  # fmt: skip
    return json.dumps(kept, indent=1).encode() + b"\n"
