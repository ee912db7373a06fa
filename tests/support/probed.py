# SPDX-License-Identifier: Apache-2.0
"""An `agentbus` whose event loop is watched: how long it was held, and what the process burns.

    probe = Probe(tmp_path / "probe")
    [sys.executable, *probe.script("listen")]     # what to start
    probe.longest_s, probe.share(over_s=1)

A thread of the process asks the loop again and again to answer, and notes how long the longest
answer took so far, the one that it waits for included: of a loop that hangs for good it tells, too.
It notes that in memory which the test shares, so that no full disk is in its way.
"""

import asyncio.events
import mmap
import struct
import sys
import threading
import time
from pathlib import Path

_PAUSE_S = 0.02
# How long the loop was held, what the process burnt, and when that was noted; in seconds.
_NOTE = struct.Struct("3d")


class Probe:
    """What the thread of a process notes, read from outside."""

    def __init__(self, file):
        self._file = file
        file.write_bytes(bytes(_NOTE.size))
        self._shared = _shared(file)

    def script(self, *argv):
        """Return what Python is given for a process that is watched."""
        return [__file__, str(self._file), *argv]

    @property
    def longest_s(self):
        """For how long the loop was held at the longest, in seconds."""
        return _NOTE.unpack_from(self._shared)[0]

    def share(self, over_s):
        """Watch the process for so long; return what part of a core it has burnt, 1 for all."""
        from local_server import until  # not in the process that is watched: it loads much

        _, burnt_s, at = _NOTE.unpack_from(self._shared)
        until(lambda: _NOTE.unpack_from(self._shared)[2] > at + over_s, "it was watched")
        _, burnt_now_s, now = _NOTE.unpack_from(self._shared)
        return (burnt_now_s - burnt_s) / (now - at)


def _shared(file):
    with Path(file).open("r+b") as opened:
        return mmap.mmap(opened.fileno(), _NOTE.size)


def _watch(loop, shared):
    longest_s = 0.0
    answered = threading.Event()
    while not loop.is_closed():
        answered.clear()
        asked = time.monotonic()
        try:
            loop.call_soon_threadsafe(answered.set)
        except RuntimeError:  # it was closed at this moment
            return
        waits = True
        while waits:
            waits = not answered.wait(_PAUSE_S) and not loop.is_closed()
            now = time.monotonic()
            longest_s = max(longest_s, now - asked)
            _NOTE.pack_into(shared, 0, longest_s, time.process_time(), now)
        time.sleep(_PAUSE_S)


def _watched(new_event_loop, shared):
    def made():
        loop = new_event_loop()
        threading.Thread(target=_watch, args=(loop, shared), daemon=True).start()
        return loop

    return made


if __name__ == "__main__":
    # What makes the loop of `asyncio.run`, and so of anyio's.
    asyncio.events.new_event_loop = _watched(
        asyncio.events.new_event_loop, _shared(sys.argv.pop(1))
    )
    from mcp_agentbus.__main__ import main

    sys.exit(main())
