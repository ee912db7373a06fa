# SPDX-License-Identifier: Apache-2.0
"""A program that was started with a process group of its own: waited for, and ended with it.

    with Group(start(argv, ...)) as group:
        in_time = await group.ended(60)
    group.exit_code

When the program ends, by itself or not, the rest of its group is killed: what it starts does not
outlive it, whatever that holds open. What it prints is read in `output`. It knows neither why a
program is started nor what its end means.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final, Self

from mcp_agentbus.core import processes
from mcp_agentbus.core.processes import Process

#: How long a group may take, in seconds, to end itself after SIGTERM.
GRACE_S: Final = 5.0


def start(
    argv: Sequence[str],
    *,
    stdin: int | IO[bytes],
    stdout: int,
    stderr: int,
    folder: Path,
    environ: Mapping[str, str],
) -> subprocess.Popen[bytes]:
    """Start a program as the leader of a group; no shell reads its arguments.

    Args:
        argv: the program and its arguments.
        stdin: a file, or one of `subprocess`'s words.
        stdout: a descriptor.
        stderr: the same.
        folder: where it works.
        environ: all of its environment.

    Raises:
        OSError, ValueError: it is not there, or cannot be run so.
    """
    # Not asyncio's: that one kills a process which is to be left alone.
    return subprocess.Popen(
        argv,
        bufsize=0,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=folder,
        env=dict(environ),
        start_new_session=True,
    )


class Group:
    """A program that leads a group; at the end of the `with` block nothing is left of it.

    Args:
        process: the program, as `start` returns it.
        leave: where whoever waits is cancelled, let it live on, with its group.
    """

    def __init__(self, process: subprocess.Popen[bytes], *, leave: bool = False) -> None:
        self._process = process
        self._leave = leave

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        if not (self._leave and isinstance(error, asyncio.CancelledError)):
            _signal(self._process.pid, signal.SIGKILL)
            self._process.wait()  # killed just now, or ended before

    @property
    def exit_code(self) -> int:
        """Return the program's exit code, negative for a signal; it has ended."""
        return self._process.returncode

    async def ended(self, time_limit_s: float) -> bool:
        """Wait until the program has ended, by itself or at the limit; tell whether by itself.

        Cancelled, it ends the group, or leaves it alone. The program is not reaped before the end
        of the block: its number, which is its group's as well, cannot become another one's.

        Raises:
            OSError: no descriptor is left for waiting.
        """
        with _end_of(self._process.pid) as descriptor:
            try:
                if await _ends(descriptor, time_limit_s):
                    return True
            except asyncio.CancelledError:
                if not self._leave:
                    await self._end(descriptor)
                raise
            await self._end(descriptor)
            return False

    async def _end(self, descriptor: int) -> None:
        """Ask the group to end; what does not is killed at the end of the block."""
        _signal(self._process.pid, signal.SIGTERM)
        await _ends(descriptor, GRACE_S)


async def outlive(process: Process, time_limit_s: float) -> bool:
    """Wait for the end of a group's leader that need not be a child of this process.

    At the limit its group is ended. Returns whether it ended by itself.

    Raises:
        OSError: no descriptor is left for waiting.
    """
    try:
        with _end_of(process.pid) as descriptor:
            if not processes.is_still(process) or await _ends(descriptor, time_limit_s):
                return True
            if not processes.is_still(process):  # the time was up before anybody waited
                return True
            _signal(process.pid, signal.SIGTERM)
            await _ends(descriptor, GRACE_S)
            _signal(process.pid, signal.SIGKILL)
            await _ends(descriptor, GRACE_S)
            return False
    except ProcessLookupError:
        return True


@contextlib.contextmanager
def _end_of(pid: int) -> Generator[int]:
    """Yield a descriptor that can be read once the process has ended; it is not reaped.

    Raises:
        ProcessLookupError: there is no such process.
    """
    if sys.platform == "linux":
        descriptor = os.pidfd_open(pid)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    else:
        with contextlib.closing(select.kqueue()) as queue:
            its_end = select.kevent(
                pid,
                select.KQ_FILTER_PROC,
                select.KQ_EV_ADD | select.KQ_EV_ONESHOT,
                select.KQ_NOTE_EXIT,
            )
            queue.control([its_end], 0)
            yield queue.fileno()


def _signal(group: int, number: signal.Signals) -> None:
    # macOS says PermissionError of a group in which nobody lives.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


async def _ends(descriptor: int, within_s: float) -> bool:
    """Wait for an end, of which `_end_of` has a descriptor; tell whether it came in time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await _readable(descriptor)
            return True
    return False


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
