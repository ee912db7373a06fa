# SPDX-License-Identifier: Apache-2.0
"""Somebody else's JSON file: our pieces are merged into it, and taken out byte for byte.

    >>> ours = Piece(("mcpServers", "agentbus"), {"command": "/usr/bin/agentbus"})
    >>> merge(file, ours), merge(file, ours)  # told is whether anything changed
    (True, False)

Beside a file that has pieces of ours is a record of what was there before: a copy of the file, or
a note that there was none. It goes with our last piece. All pieces of one file are given together.
A link is followed, comments and the file's spelling stay. It refuses what is not JSON, what may not
be written, and what changes meanwhile.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mcp_agentbus.installers._parts.files import FOLDER_MODE, missing
from mcp_agentbus.installers._parts.json_text import (
    Piece,
    Unfit,
    check,
    has,
    is_empty,
    is_nothing,
    loaded,
    put,
    take_out,
)

from mcp_agentbus.core import files, locks
from mcp_agentbus.errors import BadSetup

__all__ = ["Piece", "document", "has_any", "holds", "merge", "record_of", "remove"]

#: Hosts' settings have a few KB; what is larger is something else.
MAX_BYTES: Final = 5_000_000
_BY_HAND: Final = "Or put the entry in by hand: `agentbus install --print` shows it."
_NOTE: Final = "agentbus made this file, and {} of the folders above it.\n"
_NEW: Final = b"{}\n"


@dataclass(frozen=True)
class _Found:
    """A file as it is."""

    content: bytes
    mode: int
    uid: int
    gid: int


def merge(path: Path, *pieces: Piece) -> bool:
    """Put the pieces into the file, or make it; tell whether anything changed.

    A piece of that name that is there already is replaced, and comes back with `remove`.

    Raises:
        BadSetup: the file cannot be edited, or changed meanwhile; the message says why.
    """
    with _failing(path):
        now = _read(path)
        if now and _edited(path, now.content, put, pieces) == now.content:
            return False
        made = _make_folders(path.parent)
        try:
            with _locked(path):
                return _merge(path, pieces, len(made))
        except BaseException:
            _remove_folders(path.parent, len(made))
            raise


def remove(path: Path, *pieces: Piece) -> bool:
    """Take the pieces out of the file again; tell whether anything changed.

    What they had replaced comes back; parents, the file and folders that `merge` had made go when
    nothing else is in them. What others wrote meanwhile stays as it is. Where somebody has deleted
    the file, the record of it goes.

    Raises:
        BadSetup: as `merge`.
    """
    with _failing(path):
        record = record_of(path)
        if not path.parent.exists():
            return False
        old = _read(record)
        if old is None and not has_any(path, *pieces):
            return False
        with _locked(path):
            changed = _remove(path, pieces)
        _remove_folders(path.parent, _noted(old) or 0)
        return changed


def has_any(path: Path, *pieces: Piece) -> bool:
    """Tell whether the file has anything of ours.

    Raises:
        BadSetup: the file cannot be read.
    """
    with _failing(path):
        if not path.parent.exists():
            return False
        now, old = _read(path), _read(record_of(path))
        return now is not None and (
            old is not None or _without(path, now, None, pieces) != now.content
        )


def holds(path: Path, *pieces: Piece) -> bool:
    """Tell whether the file has all of the pieces, just as they are given.

    Raises:
        BadSetup: the file cannot be read.
    """
    with _failing(path):
        now = _read(path)
        return now is not None and _edited(path, now.content, put, pieces) == now.content


def document(path: Path) -> dict[str, Any]:
    """Return what the file says; empty if there is none.

    Raises:
        BadSetup: it cannot be read, or `merge` would refuse it.
    """
    with _failing(path):
        now = _read(path)
        return loaded(_text(path, now.content)) if now else {}


def record_of(path: Path) -> Path:
    """Return where it is kept what was there before."""
    return path.with_name(f"{path.name}.agentbus-backup")


def _merge(path: Path, pieces: tuple[Piece, ...], made: int) -> bool:
    now, record = _read(path), record_of(path)
    content = now.content if now else _NEW
    new = _edited(path, content, put, pieces)
    if now and new == content:
        return False
    if now:
        _check_writable(path, now.mode)
    old = _read(record)
    # A record that outlived our pieces tells of an earlier time.
    if old is None or not _has_any(content, pieces):
        note = _NOTE.format(made + (_noted(old) or 0)).encode()
        _write(record, now.content if now else note, now, old)
    try:
        _write(path, new, now, now)
    except BaseException:
        if old is None:
            record.unlink()
        raise
    return True


def _remove(path: Path, pieces: tuple[Piece, ...]) -> bool:
    record = record_of(path)
    now, old = _read(path), _read(record)
    noted = _noted(old)
    if now is None:
        # Kept, it would be ours for ever. Whoever deleted the file wanted no copy of it either.
        record.unlink(missing_ok=True)
        return old is not None
    new = _without(path, now, old, pieces)
    if old and noted is None and is_nothing(_text(record, old.content)):
        new = old.content if is_empty(_text(path, new)) else new
    if new != now.content or old:
        _check_writable(path, now.mode)
    if noted is not None and is_empty(_text(path, new)):
        _check_same(path, now)
        path.unlink()
    elif new != now.content:
        _write(path, new, now, now)
    record.unlink(missing_ok=True)
    return new != now.content or old is not None


def _without(path: Path, now: _Found, old: _Found | None, pieces: tuple[Piece, ...]) -> bytes:
    before = None
    if old:
        before = _text(record_of(path), old.content if _noted(old) is None else _NEW)

    def edit(text: str, pieces: tuple[Piece, ...]) -> str:
        return take_out(text, pieces, before)

    return _edited(path, now.content, edit, pieces)


def _has_any(content: bytes, pieces: tuple[Piece, ...]) -> bool:
    text, _ = files.decoded(content)
    return any(has(text, piece) for piece in pieces if not piece.default)


def _noted(record: _Found | None) -> int | None:
    """Return how many folders `merge` had made, if it made the file."""
    if record is None:
        return None
    note = re.fullmatch(re.escape(_NOTE).replace(r"\{\}", r"(\d+)").encode(), record.content)
    return int(note[1]) if note else None


def _edited(
    path: Path,
    content: bytes,
    edit: Callable[[str, tuple[Piece, ...]], str],
    pieces: tuple[Piece, ...],
) -> bytes:
    text, mark = _spelled(path, content)
    try:
        new = edit(text, pieces)
        check(new)
    except Unfit as error:
        raise BadSetup(f"{path} {error}.", hint=f"Then run the command again. {_BY_HAND}") from None
    return files.encoded(new, mark, path)


def _text(path: Path, content: bytes) -> str:
    return _spelled(path, content)[0]


def _spelled(path: Path, content: bytes) -> tuple[str, bytes]:
    """Return the text of a file and the mark at its beginning, see `files.decoded`."""
    try:
        text, mark = files.decoded(content)
        check(text)
    except UnicodeDecodeError:
        raise BadSetup(f"{path} is not UTF-8.", hint=f"Save it as UTF-8. {_BY_HAND}") from None
    except Unfit as error:
        raise BadSetup(f"{path} {error}.", hint=f"Then run the command again. {_BY_HAND}") from None
    return text, mark


def _read(path: Path) -> _Found | None:
    try:
        # A named pipe would block whoever opens it.
        descriptor = os.open(_place(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        os.close(descriptor)
        raise BadSetup(f"{path} is not a file.")
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise BadSetup(f"{path} is larger than {MAX_BYTES // 1_000_000} MB.", hint=_BY_HAND)
    return _Found(content, stat.S_IMODE(about.st_mode), about.st_uid, about.st_gid)


def _place(path: Path) -> Path:
    """Return where the file is: people keep such files in one place and link them into others.

    Raises:
        BadSetup: the link leads nowhere, or to a file that is not this user's.
    """
    if not path.is_symlink():
        return path
    place = path.resolve()
    if not place.exists() or place.stat().st_uid != os.getuid():
        hint = f"Put the file itself in its place. {_BY_HAND}"
        what = "another user's file" if place.exists() else "nothing"
        raise BadSetup(f"{path} is a symlink to {what}: {path.readlink()}.", hint=hint)
    return place


def _check_writable(place: Path, mode: int) -> None:
    # The mode says what its owner wants; root may write anyway, and a file could be replaced.
    if not mode & 0o222 or not os.access(place, os.W_OK):
        hint = f"Make it writable with `chmod u+w`, then run the command again. {_BY_HAND}"
        raise BadSetup(f"{place} is read-only.", hint=hint)


def _check_same(path: Path, before: _Found | None) -> None:
    if _read(path) != before:
        raise BadSetup(f"{path} changed while it was edited.", hint="Run the command again.")


def _write(path: Path, content: bytes, like: _Found | None, before: _Found | None) -> None:
    """Write all of the file or none of it, with the owner and mode of `like`; compare first."""
    files.write_whole(
        _place(path),
        content,
        mode=like.mode if like else 0o600,
        owner=(like.uid, like.gid) if like else None,
        last_look=lambda: _check_same(path, before),
    )


@contextmanager
def _locked(path: Path) -> Generator[None]:
    """Be the only one of ours that edits the file; the lock's own file does not stay."""
    _check_writable(path.parent, path.parent.stat().st_mode)
    lock = path.with_name(f".{path.name}.agentbus-lock")
    while True:
        descriptor = locks.take(lock, wait=True)
        if descriptor is None:
            continue
        with suppress(FileNotFoundError):
            # Who held it before has removed that file, and others lock the new one.
            if os.path.samestat(os.fstat(descriptor), lock.stat()):
                break
        os.close(descriptor)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _make_folders(folder: Path) -> list[Path]:
    made = missing(folder)
    try:
        for place in made:
            place.mkdir(FOLDER_MODE, exist_ok=True)
    except BaseException:
        _remove_folders(folder, len(made))
        raise
    return made


def _remove_folders(folder: Path, count: int) -> None:
    for place in (folder, *folder.parents)[:count]:
        with suppress(OSError):  # something else is in it
            place.rmdir()


@contextmanager
def _failing(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else path
        raise BadSetup(f"{where} cannot be edited: {error.strerror}.", hint=_BY_HAND) from None
