# SPDX-License-Identifier: Apache-2.0
"""A system that gives a process no more threads for a while, as where pids.max is reached.

threadless.for_tries(monkeypatch, 2)
"""

import threading


def for_tries(monkeypatch, tries):
    """Have so many threads not be begun."""
    start, left = threading._start_new_thread, [None] * tries

    def refuse(*given):
        if left:
            left.pop()
            raise RuntimeError("can't start new thread")
        return start(*given)

    monkeypatch.setattr(threading, "_start_new_thread", refuse)
