# SPDX-License-Identifier: Apache-2.0
"""A program of the user's, as it does tasks: run once for each task, without a shell.

    program = Program(("claude", "-p"), "coder", folder, time_limit_s=1800, ...)
    result = await program(worker.item(task))

| it                                                | the task                                     |
|---------------------------------------------------|----------------------------------------------|
| ends with exit code 0                             | `completed`; what it printed is the body     |
| the same, and printed more than a result holds    | `completed`; a file has it, an artifact      |
| ends otherwise, or cannot be run                  | `failed`; the end of standard error says why |
| cannot be run for now, as memory is short         | is not begun, see `NotBegun`                 |
| does not end in time                              | `failed`; it is ended with all it started    |

It reads the task on standard input, or as one argument where one of its arguments says `{input}`.
No byte of a peer is in its environment or in a path.
"""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Final, TypeAlias

from mcp_agentbus.core import hosts, text
from mcp_agentbus.core.children.group import Group, start
from mcp_agentbus.core.children.output import End
from mcp_agentbus.core.files import own_folder
from mcp_agentbus.errors import BadInput, BadSetup
from mcp_agentbus.handoff.intake.answer import Item
from mcp_agentbus.store.task import RESULT_MAX_BYTES, SUMMARY_MAX_CHARS
from mcp_agentbus.work.brief import brief, filled, has_place
from mcp_agentbus.work.guard import Guard
from mcp_agentbus.work.output import KEPT_MAX_BYTES, Whole
from mcp_agentbus.work.result import NotBegun, Result, not_done

#: How long a task may take, in seconds, if its user has not said otherwise.
TIME_LIMIT_S: Final = 1800
# Of standard error so much is kept, in bytes: the message with which a program ends.
_ERRORS_BYTES: Final = 4096
# What a machine may lack for a while: open files, processes, memory, space.
_SHORT: Final = {
    *(errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT),
}
_Child: TypeAlias = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Program:
    """Runs a program for each task."""

    #: The program and its arguments.
    argv: tuple[str, ...]
    #: The agent whose tasks it does.
    me: str
    #: Where what is too long for a result is kept.
    kept: Path
    #: What its user tells it besides; empty if nothing.
    instruction: str = ""
    #: It is ended after so many seconds.
    time_limit_s: float = TIME_LIMIT_S
    #: A task with more bytes, subject and body, is rejected; None: it takes what the bus takes.
    task_max_bytes: int | None = None
    #: Variables that it gets besides those of this process that are not one session's alone.
    environ: Mapping[str, str] = field(default_factory=dict)
    #: Ends it with this process, however that ends.
    guard: Guard = field(default_factory=Guard)

    async def __call__(self, item: Item) -> Result:
        """Run it for a task; return how the task ended.

        Raises:
            NotBegun: it cannot be run for now.
        """
        task = item.task
        size = len(f"{task.subject}{task.body}".encode(errors="surrogatepass"))
        if self.task_max_bytes is not None and size > self.task_max_bytes:
            return Result(
                "rejected",
                summary=f"The task has {size:,} bytes; this worker's user lets it take "
                f"{self.task_max_bytes:,}.",
            )
        said = brief(item, self.me, self.instruction)
        with ExitStack() as opened:
            began = time.monotonic()
            try:
                running = self._begun(opened, said, task.created_at)
            except BadInput as error:
                return not_done(f"{error.message}; its worker could take it on standard input")
            except BadSetup as error:
                return not_done(f"its worker's program cannot be run: {error.message.rstrip('.')}")
            except (OSError, ValueError) as error:
                if isinstance(error, OSError) and error.errno in _SHORT:
                    raise NotBegun(_why(error)) from error
                return not_done(f"its worker's program cannot be run: {_why(error)}")
            return await self._ended(*running, began)

    def _begun(self, opened: ExitStack, said: str, sent_at: datetime) -> tuple[_Child, Whole, End]:
        """Start it; what that needs is closed with the stack.

        Raises:
            BadInput: as `filled`.
            BadSetup: as `own_folder`.
            OSError, ValueError: it cannot be run, or not now; nothing runs.
        """
        stdin: int | IO[bytes] = subprocess.DEVNULL
        if has_place(self.argv):
            argv = filled(self.argv, said)
        else:
            argv = list(self.argv)
            stdin = opened.enter_context(self._unnamed())
            unread = said.encode()
            while unread:
                unread = unread[stdin.write(unread) :]
            stdin.seek(0)
        output = opened.enter_context(Whole(self.kept, sent_at))
        errors = opened.enter_context(End(_ERRORS_BYTES))
        try:
            self.guard.start()
        except OSError as error:
            why = f"what ends it with its worker cannot be started: {error.strerror}"
            raise OSError(error.errno, why) from error
        process = start(
            argv,
            stdin=stdin,
            stdout=output.descriptor,
            stderr=errors.descriptor,
            folder=Path(),
            environ={**_lasting(os.environ), **self.environ},
        )
        output.started()
        errors.started()
        return process, output, errors

    def _unnamed(self) -> IO[bytes]:
        """Return a file for a peer's text: in memory, or in a folder of this user's.

        Where all may write, others can fill the disk. It has no buffer: what a full disk did not
        take would be written once more as it is closed, and that error hide the first.

        Raises:
            BadSetup: as `own_folder`.
            OSError: there can be none.
        """
        # Python has it only where it was built against glibc 2.27 or later.
        if in_memory := getattr(os, "memfd_create", None):
            try:
                return os.fdopen(in_memory("agentbus"), "w+b", buffering=0)
            except OSError as error:  # as by vm.memfd_noexec=2, or a container's rules
                if error.errno in _SHORT:
                    raise
        own_folder(self.kept)
        return tempfile.TemporaryFile(buffering=0, dir=self.kept)

    async def _ended(self, process: _Child, output: Whole, errors: End, began: float) -> Result:
        """Wait for its end, and return what that means."""
        with Group(process) as group, self.guard.over(process.pid):
            in_time = await group.ended(self.time_limit_s)
        await output.rest()
        await errors.rest()
        code, over = group.exit_code, f"not done in {text.duration(self.time_limit_s)}"
        if code is None:
            how = f"{over}: the program could not be ended, and runs on as pid {process.pid}"
        elif in_time:
            how = _how(code, time.monotonic() - began)
        else:
            how = f"{over}: the program was ended"
        return _result(output, errors.text(), how, is_done=in_time and code == 0)


def _lasting(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what is one session's, or the worker's own by its manager.

    The worker may be started in a session. What leads to the bus stays, as the token of a server:
    what the program starts of agentbus is the same agent.
    """
    return {
        name: value
        for name, value in environ.items()
        if not (hosts.is_of_session(name) or hosts.is_among(name, hosts.OF_MANAGER))
    }


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.errno == errno.E2BIG:
        return "its arguments and its environment are too long for the system"
    return (error.strerror if isinstance(error, OSError) else str(error)) or "the system refuses it"


def _how(code: int, seconds: float) -> str:
    how = f"ended by signal {-code}" if code < 0 else f"exit code {code}"
    return f"{how} after {seconds:.0f} s"


def _result(output: Whole, errors: str, how: str, *, is_done: bool) -> Result:
    """Return the end of a task whose program has ended."""
    said = [] if is_done else [f"{how[0].upper()}{how[1:]}."]
    body, kept = output.text, None
    if body is None:
        kept = output.keep()
        said.append(_elsewhere(output, has_file=kept is not None))
        is_done = is_done and kept is not None and output.kept == output.count
    elif not output.count:
        said.append("It printed nothing.")
    if not is_done and errors.strip():
        said.append(f"The end of its standard error:\n{errors.strip()}")
    return Result(
        "completed" if is_done else "failed",
        summary=_summary(said),
        body=body or "",
        artifacts=(str(kept),) if kept else (),
    )


def _elsewhere(output: Whole, *, has_file: bool) -> str:
    """Say why a result has no body, and where what was printed is."""
    too_long = output.count > RESULT_MAX_BYTES
    why = f"of which a result holds {RESULT_MAX_BYTES:,}" if too_long else "which are no UTF-8 text"
    printed = f"The program printed {output.count:,} bytes, {why}"
    if not has_file:
        return f"{printed}; they could not be kept in a file either: {output.lost}."
    where = f"the file named as its artifact, on host {os.uname().nodename}"
    if output.kept < output.count:
        return f"{printed}; only the first {KEPT_MAX_BYTES:,} are kept, in {where}."
    return f"{printed}: all of it is in {where}."


def _summary(said: list[str]) -> str:
    """Return the sentences as a summary; of the last only the end, where that is too long."""
    summary = " ".join(said)
    if len(summary) <= SUMMARY_MAX_CHARS:
        return summary
    *before, last = said
    begin = " ".join(before)
    title, _, errors = last.partition("\n")
    room = SUMMARY_MAX_CHARS - len(begin) - len(title) - len(" \n...")
    return f"{begin} {title}\n...{errors[-room:]}"
