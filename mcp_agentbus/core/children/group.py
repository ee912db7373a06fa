# SPDX-License-Identifier: Apache-2.0
"""A program that was started with a process group of its own: waited for, and ended with it.

    with Group(start(argv, ...)) as group:
        in_time = await group.ended(60)
    group.exit_code

When the program ends, by itself or not, the rest of its group is killed: what it starts does not
outlive it, whatever that holds open, unless it is another user's or has left the group, as a daemon
does: nobody can tell whose that is any more. What it prints is read in `output`. It knows neither
why a program is started nor what its end means.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Final, Self, TypeAlias

from mcp_agentbus.core import processes
from mcp_agentbus.core.children import descriptors, threads
from mcp_agentbus.core.feather.ancestors import status
from mcp_agentbus.core.processes import Process

#: How long a group may take, in seconds, to end itself after SIGTERM.
GRACE_S: Final = 5.0
# What was killed has ended by then; meanwhile nothing else is done here.
_REAPED_WITHIN_S: Final = 0.5
# Where the system tells of no end, it is looked for this often, in seconds.
_LOOK_AGAIN_S: Final = 0.05


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
    process = subprocess.Popen(
        argv,
        bufsize=0,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=folder,
        env=dict(environ),
        start_new_session=True,
    )
    descriptors.give_back(process.pid)
    return process


# Waits for the end of a process, as often as it is called.
_End: TypeAlias = Callable[[], Awaitable[None]]


class Group:
    """A program that leads a group; at the end of the `with` block nothing is left of it.

    Only what has left it goes on, and what another user runs, as by sudo, and this one may not
    signal.

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
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_REAPED_WITHIN_S)  # killed just now, or ended before
                return
        # It keeps the object, which would complain of a running process when it goes.
        with contextlib.suppress(OSError):
            threads.begin(self._process.wait, name="agentbus-reaper")

    @property
    def exit_code(self) -> int | None:
        """Return the program's exit code, negative for a signal; None if it could not be ended."""
        return self._process.returncode

    async def ended(self, time_limit_s: float) -> bool:
        """Wait until the program has ended, by itself or at the limit; tell whether by itself.

        Cancelled, it ends the group, or leaves it alone. The program is not reaped before the end
        of the block: its number, which is its group's as well, cannot become another one's.

        Raises:
            OSError: no descriptor is left for waiting.
        """
        with _end_of(self._process.pid) as end:
            try:
                if await _ends(end, time_limit_s):
                    return True
            except asyncio.CancelledError:
                if not self._leave:
                    await self._end(end)
                raise
            await self._end(end)
            return False

    async def _end(self, end: _End) -> None:
        """Ask the group to end, and kill what does not."""
        _signal(self._process.pid, signal.SIGTERM)
        if not await _ends(end, GRACE_S) and _signal(self._process.pid, signal.SIGKILL):
            await _ends(end, GRACE_S)


async def outlive(process: Process, time_limit_s: float, *, leave: bool = False) -> bool | None:
    """Wait for the end of a group's leader that need not be a child of this process.

    At the limit its group is ended; where this is cancelled, too, but for one to `leave`. Returns
    whether it ended by itself; None if it could not be ended, as what another user runs.

    Raises:
        OSError: no descriptor is left for waiting.
    """
    try:
        with _end_of(process.pid) as end:
            try:
                if not processes.is_still(process) or await _ends(end, time_limit_s):
                    return True
            except asyncio.CancelledError:
                if not leave:
                    await _end_stranger(process, end)
                raise
            return await _end_stranger(process, end)
    except ProcessLookupError:
        return True


async def _end_stranger(process: Process, end: _End) -> bool | None:
    """End the group of a process that need not be a child; tell what became of it, as `outlive`."""
    if not processes.is_still(process):  # it has ended before anybody waited
        return True
    _signal(process.pid, signal.SIGTERM)
    await _ends(end, GRACE_S)
    _signal(process.pid, signal.SIGKILL)
    return False if await _ends(end, GRACE_S) else None


@contextlib.contextmanager
def _end_of(pid: int) -> Generator[_End]:
    """Yield what waits until the process has ended; it is not reaped.

    Raises:
        ProcessLookupError: there is no such process.
    """
    if sys.platform == "linux":
        descriptor = processes.opened(pid)
        if descriptor < 0:
            yield partial(_seen_to_end, pid, processes.born(pid))
            return
        try:
            yield partial(_readable, descriptor)
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
            end: _End = partial(_readable, queue.fileno())
            try:
                queue.control([its_end], 0)
            except ProcessLookupError:  # macOS knows none that has ended, though nobody reaped it
                end = partial(asyncio.sleep, 0)
            yield end


def _signal(group: int, number: signal.Signals) -> bool:
    """Send a signal to a group; tell whether anybody in it gets it."""
    # macOS says PermissionError of a group in which nobody lives.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        return True
    return False


async def _ends(end: _End, within_s: float) -> bool:
    """Wait for an end by what `_end_of` yields; tell whether it came in time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await end()
            return True
    return False


async def _seen_to_end(pid: int, born: str) -> None:
    while not _has_ended(pid, born):  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(_LOOK_AGAIN_S)


def _has_ended(pid: int, born: str) -> bool:
    with contextlib.suppress(ChildProcessError):
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
    # Of one that is no child: nobody may have reaped it yet, or another one has its number.
    return status(pid)[:1] in ([], ["Z"]) or processes.born(pid) != born


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
