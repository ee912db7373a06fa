# SPDX-License-Identifier: Apache-2.0
"""Threads of this process, which end with it, and what it means that the system gives none.

    threads.begin(process.wait, name="agentbus-reaper")

A user, a service or a container may have so many at once and no more (ulimit -u, TasksMax,
pids.max). That is often for a moment only, and no bug: so it is an OSError, as of a file that
cannot be opened, and not Python's RuntimeError, which nobody expects.
"""

# No `annotations` of __future__ either: a file more to be found and read.
import errno
import threading
import time
from collections.abc import Callable
from typing import Any, Final

_AGAIN_S: Final = 0.05


def begin(
    work: Callable[..., Any], *given: Any, name: str, patient_s: float = 0.0
) -> threading.Thread:
    """Have some work be done in a thread of its own, which holds up no end of the process.

    Where the system gives none, it is asked again for so many seconds.

    Raises:
        OSError: it gives none.
    """
    give_up = time.monotonic() + patient_s
    while True:
        thread = threading.Thread(target=work, args=given, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if time.monotonic() >= give_up:
                why = "no more threads are to be had (ulimit -u, TasksMax, pids.max)"
                raise OSError(errno.EAGAIN, why) from None
            time.sleep(_AGAIN_S)
        else:
            return thread
