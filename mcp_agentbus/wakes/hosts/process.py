# SPDX-License-Identifier: Apache-2.0
"""A host's process: started without a shell, read, limited in time, ended with its group.

    >>> await run(["true"], stdin=b"", call=call, time_limit_s=60)
    Ended(outcome='exited', said='exit code 0 after 0 s', exit_code=0, output='', usd=None)

It leads a process group of its own, which ends with it. Only a process that the listener is to
leave alone at its own end (`on_stop = "leave"`) stays, with its group.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from mcp_agentbus.config.rules import Rules
from mcp_agentbus.core.aio import in_thread
from mcp_agentbus.core.children.group import Group, start
from mcp_agentbus.core.children.output import End, FileEnd
from mcp_agentbus.wakes.hosts.protocol import Ended, WakeOrder

#: What is kept of the output, in bytes: enough for the message with which a program ends.
KEEP_BYTES: Final = 4096
# What a pipe takes without a reader on every system (PIPE_BUF of Linux; macOS takes 16 KiB).
_STDIN_MAX_BYTES: Final = 4096


# A disk of this machine says within that what is there.
_LOOKS_S: Final = 5.0

_T = TypeVar("_T")
_O = TypeVar("_O")


async def folder_lacks(rules: Rules) -> str:
    """Return why nothing can be started in an agent's folder, also where nobody tells of it."""
    silent = f"its folder {rules.folder} cannot be looked at: its file system does not answer"
    return await looked(rules.folder_lacks, silent)


async def looked(look: Callable[[], _T], otherwise: _O) -> _T | _O:
    """Return what a look at files tells; something else where a file system does not answer."""
    try:
        async with asyncio.timeout(_LOOKS_S):
            return await in_thread(look)
    except TimeoutError:
        return otherwise


async def run(
    argv: Sequence[str],
    *,
    stdin: bytes | Callable[[], Awaitable[str]],
    call: WakeOrder,
    time_limit_s: float,
    keep_bytes: int = KEEP_BYTES,
) -> Ended:
    """Run a program in the agent's folder, with the call's environment alone, until it ends.

    What it reads may be a notice that is made while it starts. Cancelled, it ends the program or
    leaves it alone, as the rules say.

    Raises:
        ValueError: `stdin` is longer than a pipe holds; nothing runs.
        OSError: no descriptor is left for its output, or for waiting; nothing runs.
    """
    if isinstance(stdin, bytes):
        _check(stdin)
    if lacks := await folder_lacks(call.rules):
        return Ended("not_started", lacks)
    leave = call.rules.on_stop == "leave"
    began = time.monotonic()
    with FileEnd(keep_bytes) if leave else End(keep_bytes) as output:
        try:
            process = start(
                argv,
                stdin=subprocess.PIPE,
                stdout=output.descriptor,
                stderr=output.descriptor,
                folder=call.rules.folder,
                environ=call.environ,
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            return Ended("not_started", f"{argv[0]} cannot be run: {why}")
        output.started()
        with Group(process, leave=leave) as group:
            call.started(process.pid)
            said = stdin if isinstance(stdin, bytes) else f"{await stdin()}\n".encode()
            _check(said)
            _say(process, said)
            in_time = await group.ended(time_limit_s)
        await output.rest()
        if group.exit_code is None:
            return Ended.lives_on(process.pid, output.text())
        return _said(group.exit_code, time.monotonic() - began, output.text(), in_time=in_time)


def _check(stdin: bytes) -> None:
    if len(stdin) > _STDIN_MAX_BYTES:
        raise ValueError(f"stdin may have {_STDIN_MAX_BYTES} bytes")


def _say(process: subprocess.Popen[bytes], stdin: bytes) -> None:
    """Give the process what it waits for: it is known by now.

    One whose listener was killed before reads an end without a notice, and has nothing to do.
    """
    assert process.stdin  # noqa: S101 - for mypy: it was started so
    with process.stdin, contextlib.suppress(BrokenPipeError):  # it does not read, or has ended
        process.stdin.write(stdin)


def _said(code: int, seconds: float, output: str, *, in_time: bool) -> Ended:
    after = f"after {seconds:.0f} s"
    if not in_time:
        return Ended("timed_out", f"ended at its time limit {after}", output=output)
    if code < 0:
        return Ended("failed", f"ended by signal {-code} {after}", output=output)
    return Ended(
        "failed" if code else "exited", f"exit code {code} {after}", exit_code=code, output=output
    )
