# SPDX-License-Identifier: Apache-2.0
"""A secret of this user's on this machine, so that nobody else foresees an id.

    >>> unforeseen(settings.state_dir, "planner", "coder", "nightly-tests")
    '9d0c1e5b0a7f4c6e8b2d3f5a7c9e1b4d'

A server takes a message whose id it knows for a repeated one, and says "stored" of what it drops.
Whoever could tell an id in advance would store something else under it. It is made at its first
use, and no other machine needs it.
"""

from __future__ import annotations

import hmac
import os
import secrets
import tempfile
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

from mcp_agentbus.core.files import check_private, damaged, own_folder, read_whole, unusable

_KEY_BYTES: Final = 32
_ID_CHARS: Final = 32  # 128 bits


def unforeseen(folder: Path, *said: str) -> str:
    """Return an id of 32 hex digits: the same for the same texts, and for this user here alone.

    Args:
        folder: the state folder; made if it is not there.
        said: what it is the id of; no text moves from one to the next.

    Raises:
        BadSetup: the key cannot be kept there, is open to others, or is damaged.
    """
    message = "\0".join(said).encode()
    return hmac.digest(_key(file_in(folder)), message, "sha256").hex()[:_ID_CHARS]


def signed(folder: Path, word: str, about: str) -> bytes:
    """Return a word, which has no space, with the time and a proof that this user wrote it here.

    Raises: as `unforeseen`.
    """
    at = str(time.time_ns())
    return f"{word} {at} {unforeseen(folder, 'signed', word, at, about)}".encode()


def word_in(folder: Path, data: bytes, about: str, *, since: int) -> str:
    """Return the word that this user has `signed` here; empty if it is no such, or of before.

    Args:
        folder: as `signed`.
        data: what came; anybody may have sent it, or sent again what was heard.
        about: as `signed`.
        since: nanoseconds of the epoch; what was signed before that is no word.

    Raises: as `unforeseen`.
    """
    word, _, rest = data.decode("latin-1").partition(" ")
    at, _, proof = rest.partition(" ")
    expected = unforeseen(folder, "signed", word, at, about)
    if not hmac.compare_digest(proof.encode(), expected.encode()):
        return ""
    return word if int(at) >= since else ""


@lru_cache(maxsize=16)  # asked for with each id
def file_in(folder: Path) -> Path:
    """Return where the key is kept."""
    return folder / "machine.key"


@lru_cache(maxsize=16)
def _key(file: Path) -> bytes:
    try:
        with suppress(FileNotFoundError):
            return _read(file)
        own_folder(file.parent)
        _make(file)
        return _read(file)
    except OSError as error:
        raise unusable(error, file) from None


def check(file: Path) -> None:
    """See that a key that is there can be used.

    Raises:
        BadSetup: it is open to others, or damaged.
        OSError: it is not there, or cannot be read.
    """
    _read(file)


def _read(file: Path) -> bytes:
    check_private(file)
    key = read_whole(file)
    if len(key) != _KEY_BYTES:
        raise damaged(file, "the next send makes a new one.")
    return key


def _make(file: Path) -> None:
    """Put a new key there, whole, unless another process has done so at this moment."""
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as temporary:
            temporary.write(secrets.token_bytes(_KEY_BYTES))
            temporary.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):
            os.link(name, file)
    finally:
        Path(name).unlink()
