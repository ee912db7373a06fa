# SPDX-License-Identifier: Apache-2.0
"""A host's process: started without a shell, read, limited in time, ended with its group.

    >>> await run(["true"], stdin=b"", call=call, time_limit_s=60)
    Ended(outcome='exited', said='exit code 0 after 0 s', exit_code=0, output='', usd=None)

It leads a process group of its own. When it ends, by itself or not, the rest of the group is
killed: what a wake starts does not outlive it. Only a process that the listener is to leave alone
at its own end (`on_stop = "leave"`) stays, with its group.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from typing import Final, Self

from mcp_agentbus.wakes.hosts.protocol import Call, Ended

#: What is kept of the output, in bytes: enough for the message with which a program ends.
KEEP_BYTES: Final = 4096
#: How long a group may take, in seconds, to end itself after SIGTERM.
GRACE_S: Final = 5.0
# What is in the pipe at the end is there at once; only a process outside the group adds more.
_LAST_READ_S: Final = 0.5
# As much as a pipe of Linux or macOS holds.
_READ_BYTES: Final = 64 * 1024
# What a pipe takes without a reader on every system (PIPE_BUF of Linux; macOS takes 16 KiB).
_STDIN_MAX_BYTES: Final = 4096


async def run(
    argv: Sequence[str],
    *,
    stdin: bytes,
    call: Call,
    time_limit_s: float,
    keep_bytes: int = KEEP_BYTES,
) -> Ended:
    """Run a program in the agent's folder, with the call's environment alone, until it ends.

    Cancelled, it ends the program or leaves it alone, as the rules say.

    Raises:
        ValueError: `stdin` is longer than a pipe holds.
        OSError: no descriptor is left for its output, or for waiting; nothing runs.
    """
    if len(stdin) > _STDIN_MAX_BYTES:
        raise ValueError(f"stdin may have {_STDIN_MAX_BYTES} bytes")
    if not call.rules.folder.is_dir():
        return Ended("not_started", f"its folder {call.rules.folder} is not there")
    leave = call.rules.on_stop == "leave"
    start = time.monotonic()
    with _FileOutput(keep_bytes) if leave else _PipeOutput(keep_bytes) as output:
        try:
            process = _start(argv, call, output)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            return Ended("not_started", f"{argv[0]} cannot be run: {why}")
        try:
            in_time = await _wait(process, stdin, call, time_limit_s)
        except BaseException as error:
            if leave and isinstance(error, asyncio.CancelledError):
                # It keeps the object, which would complain of a running process when it goes.
                threading.Thread(target=process.wait, name="agentbus-reaper", daemon=True).start()
            raise
        await output.rest()
        return _said(process.returncode, time.monotonic() - start, output.text(), in_time=in_time)


async def outlive(pid: int) -> None:
    """Wait for the end of a process, which need not be a child of this one."""
    try:
        with _end_of(pid) as descriptor:
            await _readable(descriptor)
    except ProcessLookupError:
        return


class _PipeOutput:
    """A pipe that is read all the time; only the end is kept."""

    def __init__(self, keep_bytes: int) -> None:
        self._keep_bytes = keep_bytes
        self._end = b""
        self._closed = asyncio.Event()

    def __enter__(self) -> Self:
        self._reader, self.descriptor = os.pipe()
        os.set_blocking(self._reader, False)
        asyncio.get_running_loop().add_reader(self._reader, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        self.started()
        asyncio.get_running_loop().remove_reader(self._reader)
        os.close(self._reader)

    def started(self) -> None:
        """Close what the process has now."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    async def rest(self) -> None:
        """Read what is left, for as long as somebody may be writing, but not for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_READ_S):
                await self._closed.wait()

    def text(self) -> str:
        return self._end.decode(errors="replace")

    def _read(self) -> None:
        if chunk := os.read(self._reader, _READ_BYTES):
            self._end = (self._end + chunk)[-self._keep_bytes :]
        else:
            asyncio.get_running_loop().remove_reader(self._reader)
            self._closed.set()


class _FileOutput:
    """A file without a name: it takes what is written even after this process is gone.

    A pipe would end the process that is left alone with SIGPIPE.
    """

    def __init__(self, keep_bytes: int) -> None:
        self._keep_bytes = keep_bytes

    def __enter__(self) -> Self:
        self._file = tempfile.TemporaryFile("ab+", prefix="agentbus-")
        self.descriptor = self._file.fileno()
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def started(self) -> None:
        """Do nothing: it is read at the end."""

    async def rest(self) -> None:
        """Do nothing: all is there."""

    def text(self) -> str:
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(max(0, size - self._keep_bytes))
        return self._file.read(self._keep_bytes).decode(errors="replace")


def _start(
    argv: Sequence[str], call: Call, output: _PipeOutput | _FileOutput
) -> subprocess.Popen[bytes]:
    # Not asyncio's: that one kills a process which is to be left alone.
    process = subprocess.Popen(
        argv,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=output.descriptor,
        stderr=output.descriptor,
        cwd=call.rules.folder,
        env=dict(call.environ),
        start_new_session=True,
    )
    output.started()
    return process


async def _wait(
    process: subprocess.Popen[bytes], stdin: bytes, call: Call, time_limit_s: float
) -> bool:
    """Wait until the process has ended and its group is gone; tell whether it did so in time."""
    # The process is not reaped before the end of this: its number, which is its group's as well,
    # cannot become another one's.
    in_time = True
    left = False
    try:
        call.started(process.pid)
        _say(process, stdin)
        with _end_of(process.pid) as descriptor:
            try:
                async with asyncio.timeout(time_limit_s):
                    await _readable(descriptor)
            except TimeoutError:
                in_time = False
                await _end(process, descriptor)
            except asyncio.CancelledError:
                left = call.rules.on_stop == "leave"
                if not left:
                    await _end(process, descriptor)
                raise
    finally:
        if process.stdin:
            process.stdin.close()
        if not left:
            _signal(process, signal.SIGKILL)
            process.wait()  # killed just now, or ended before
    return in_time


def _say(process: subprocess.Popen[bytes], stdin: bytes) -> None:
    """Give the process what it waits for: it is known by now.

    One whose listener was killed before reads an end without a notice, and has nothing to do.
    """
    assert process.stdin  # noqa: S101 - for mypy: it was started so
    with process.stdin, contextlib.suppress(BrokenPipeError):  # it does not read, or has ended
        process.stdin.write(stdin)


async def _end(process: subprocess.Popen[bytes], descriptor: int) -> None:
    """Ask the group to end; its caller kills what does not."""
    _signal(process, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GRACE_S):
            await _readable(descriptor)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # macOS says PermissionError of a group in which nobody lives.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


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


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


def _said(code: int, seconds: float, output: str, *, in_time: bool) -> Ended:
    after = f"after {seconds:.0f} s"
    if not in_time:
        return Ended("timed_out", f"ended at its time limit {after}", output=output)
    if code < 0:
        return Ended("failed", f"ended by signal {-code} {after}", output=output)
    return Ended(
        "failed" if code else "exited", f"exit code {code} {after}", exit_code=code, output=output
    )
