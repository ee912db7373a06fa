# SPDX-License-Identifier: Apache-2.0
"""A disk whose syncs take their time: injected into a process that syncs, such as nats-server.

    with slowed(pid, 15): ...             # each of its syncs takes 15 ms more
    with noted(pid) as syncs: ...         # then there is a line for each, with the file's name

strace holds each sync at its return; that it looks at the others slows a process as well, so a row
is to be read beside the one of 0 ms. It needs root, or the right to trace.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SYNCS = "fsync,fdatasync"
_ATTACHED_S = 10.0
_LOOK_AGAIN_S = 0.01


class CannotSlow(Exception):
    """Nothing can be injected here."""


@contextmanager
def slowed(pid: int, sync_ms: int) -> Iterator[None]:
    """Have each sync of a process take so many milliseconds more; 0 traces it alone.

    Raises:
        CannotSlow: there is no strace here, or it may not trace.
    """
    inject = ["-e", f"inject={_SYNCS}:delay_exit={1000 * sync_ms}"] if sync_ms else []
    with _traced(pid, *inject):
        yield


@contextmanager
def noted(pid: int) -> Iterator[list[str]]:
    """Give a line for each sync of a process, with its file; they are there once the block ends.

    Raises: as `slowed`.
    """
    syncs = list[str]()
    with tempfile.NamedTemporaryFile("r") as lines:
        with _traced(pid, "-y", into=lines.name):
            yield syncs
        syncs += lines


@contextmanager
def _traced(pid: int, *how: str, into: str = "/dev/null") -> Iterator[None]:
    strace = shutil.which("strace")
    if strace is None:
        raise CannotSlow("strace is not installed")
    argv = [strace, "-f", "-qq", "-o", into, "-e", f"trace={_SYNCS}", *how]
    tracer = subprocess.Popen([*argv, "-p", str(pid)], stderr=subprocess.PIPE)
    try:
        _await_attached(tracer, pid)
        yield
    finally:
        tracer.send_signal(signal.SIGINT)  # it lets go of the process
        tracer.communicate()


def _await_attached(tracer: subprocess.Popen[bytes], pid: int) -> None:
    give_up = time.monotonic() + _ATTACHED_S
    while not all(map(_is_traced, Path(f"/proc/{pid}/task").iterdir())):
        if tracer.poll() is not None or time.monotonic() > give_up:
            raise CannotSlow("strace may not trace here")
        time.sleep(_LOOK_AGAIN_S)


def _is_traced(thread: Path) -> bool:
    try:
        return "TracerPid:\t0\n" not in (thread / "status").read_text()
    except OSError:  # it has ended
        return True
