# SPDX-License-Identifier: Apache-2.0
"""How many files and connections this process may have open, and what tells that no more may be.

    >>> raise_limit()
    >>> are_gone(OSError(errno.EMFILE, "Too many open files"))
    True

A shell or a service manager gives a program 1,024 or fewer, since old ones break with more, and
lets it ask for more by itself. What it starts gets back what it had.
"""

from __future__ import annotations

import errno
import sys
from contextlib import suppress
from typing import Final

#: What is said where none is left; what mends it follows.
NONE_LEFT: Final = "no file descriptor was left"
MEND: Final = "have more (ulimit -n, LimitNOFILE of its service), then agentbus listen --replace"
# macOS takes no more, and says that there is no limit.
_MOST: Final = 10_240 if sys.platform == "darwin" else 1 << 20
# As it was before `raise_limit`.
_before: Final[list[tuple[int, int]]] = []


def raise_limit() -> None:
    """Have as many as this user may have, where the system allows it."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = before = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            _before.append(before)


def give_back(pid: int) -> None:
    """Have a process that was started from here have the limit that this one was started with.

    What it has opened meanwhile it keeps. macOS has no such call, and programs there expect more.
    """
    if _before and sys.platform == "linux":
        import resource

        with suppress(OSError):  # it has ended
            resource.prlimit(pid, resource.RLIMIT_NOFILE, _before[0])


def are_gone(error: BaseException) -> bool:
    """Tell whether it failed as no more files may be open: a limit's doing, and no bug's."""
    return isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}


def mend(failure: str) -> str:
    """Return what to do about one of `aio.failures`."""
    if NONE_LEFT in failure:
        return f"It may open too few files: {MEND}."
    return "That is a bug; report it with these words. `agentbus listen --replace` begins anew."
