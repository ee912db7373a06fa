# SPDX-License-Identifier: Apache-2.0
"""Ends a worker's programs if the worker itself is killed: a process beside it, which outlives it.

    guard = Guard()
    guard.start()
    with guard.over(process.pid):
        ...                        # killed here, this process leaves no program behind
    guard.close()

A task whose worker has died is offered again, and nobody wants it done by two at once. The guard
reads what runs from a pipe; where that ends while something runs, it ends what runs, with all that
it has started. Run as a program, this file is the guard: it loads next to nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from mcp_agentbus.core import processes, programs

if TYPE_CHECKING:
    import subprocess

# How long programs may take, in seconds, to end themselves after SIGTERM; how often that is seen.
_GRACE_S: Final = 5.0
_LOOK_AGAIN_S: Final = 0.05


class Guard:
    """The guard of this process's programs; if nobody has started it, the first of them does."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._running: set[int] = set()

    @contextmanager
    def over(self, pid: int) -> Generator[None]:
        """Have a program, which leads a group, ended with this process.

        Raises:
            OSError: no guard can be started.
        """
        try:
            self._running.add(pid)  # also of what no guard is told, nothing may stay behind
            self._tell(f"+{pid}\n")
            yield
        finally:
            self._running.discard(pid)
            # Of one that was killed nothing is wanted: the next one is told what runs then.
            with suppress(OSError):
                if self._process:
                    self._written(f"-{pid}\n")

    def start(self) -> None:
        """Start it before there is a program, and anew if somebody has killed it.

        It starts by the files that this process has loaded. By the first program another version
        may be there, or be about to come: such a guard would end as it begins, and what runs had
        none until the next program begins.

        Raises:
            OSError: it cannot be started.
        """
        if self._process is None or self._process.poll() is not None:
            self._start()

    def close(self) -> None:
        """End the guard."""
        if self._process and self._process.stdin:
            self._process.stdin.close()
            self._process.wait()
            self._process = None

    def _tell(self, line: str) -> None:
        try:
            if self._process is None:
                raise BrokenPipeError
            self._written(line)
        except BrokenPipeError:  # there is none yet, or somebody has killed it
            self._start()

    def _start(self) -> None:
        import subprocess  # not for the guard itself

        if self._process:
            self._process.kill()
            self.close()
        self._process = subprocess.Popen(
            programs.ourselves(module=f"{__package__}.guard"),
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # Ctrl-C is for the worker
        )
        self._written("".join(f"+{pid}\n" for pid in sorted(self._running)))

    def _written(self, lines: str) -> None:
        assert self._process  # noqa: S101 - for mypy: it was started so
        assert self._process.stdin  # noqa: S101 - the same
        self._process.stdin.write(lines.encode())


def main() -> None:
    """Read what runs until the worker is gone, and end what it has left."""
    running: dict[int, str] = {}
    for line in sys.stdin:
        sign, pid = line[0], int(line[1:])
        if sign == "+":
            running[pid] = processes.born(pid)
        else:
            running.pop(pid, None)
    _end(running)


def _end(running: dict[int, str]) -> None:
    # Of one whose number is another's by now nothing is left; one that has ended may leave a group.
    groups = [pid for pid, born in running.items() if processes.born(pid) in {"", born}]
    give_up = time.monotonic() + _GRACE_S
    left = [group for group in groups if _signal(group, signal.SIGTERM)]
    while left and time.monotonic() < give_up:
        time.sleep(_LOOK_AGAIN_S)
        left = [group for group in left if _signal(group, 0)]
    for group in left:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    """Send a signal to a group; tell whether anybody is in it."""
    # macOS says PermissionError of a group in which nobody lives.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        return True
    return False


if __name__ == "__main__":
    main()
