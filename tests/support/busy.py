# SPDX-License-Identifier: Apache-2.0
"""A loop all of whose own threads are at work: whatever waits for one of them waits for ever.

with busy.own_threads():
    assert await reads_an_archive()
"""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

HANG_S = 10  # only a hang takes as long


@contextmanager
def own_threads():
    """Keep the loop's own threads at work; who waits for one fails after a while."""
    may_end = threading.Event()
    with ThreadPoolExecutor(1) as own:
        own.submit(may_end.wait)
        loop = asyncio.get_running_loop()
        loop.set_default_executor(own)
        freed = loop.call_later(HANG_S, may_end.set)
        try:
            yield
            assert not may_end.is_set(), "it has waited for a thread of the loop's own"
        finally:
            freed.cancel()
            may_end.set()
            loop.set_default_executor(ThreadPoolExecutor())  # the next test has the same loop
