# SPDX-License-Identifier: Apache-2.0
"""One process at a time: a file that is locked for as long as its holder lives.

    >>> with held(folder / "listener.lock", wait=False) as lock:
    ...     lock is None  # somebody else has it
    False

The kernel lets go of it when the last process that has its descriptor ends, however it ends; the
file itself means nothing and stays. It is for processes on one machine: a lock on a network's disk
may hold for this machine alone.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


def take(path: Path, *, wait: bool) -> int | None:
    """Return the descriptor of the locked file; None if somebody else has it and `wait` is false.

    Whoever closes it lets go; a process that has inherited it keeps the lock. Its folder is made,
    0700, if there is none.

    Raises:
        OSError: the file cannot be opened, or is a link.
    """
    # Not at the top: Windows lacks it, and nothing gets this far there.
    import fcntl

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def held(path: Path, *, wait: bool) -> Generator[int | None]:
    """Hold the lock, as `take`, until the block ends.

    Raises:
        OSError: as `take`.
    """
    descriptor = take(path, wait=wait)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)
