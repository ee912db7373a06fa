# SPDX-License-Identifier: Apache-2.0
"""The host's end of a session: standard input and output, of whatever kind the host gives.

    host = Host.taken()
    for line in host.lines():
        host.say(answer)

A pipe, a socket, a terminal or a file, in blocking mode or not: that mode belongs to whoever opened
them, and is left as it is. A host that reads slowly is waited for; one that has gone ends the
session. It knows nothing of what is said.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from errno import ECONNRESET, EIO, EPIPE
from typing import Final

from mcp_agentbus.core.lines import Lines
from mcp_agentbus.errors import BadSetup

_CHUNK_BYTES: Final = 64 * 1024
# What a pipe takes whole once it is said to be ready, so that no write waits unseen.
_AT_ONCE_BYTES: Final = select.PIPE_BUF
# How soon one is asked again that says it is ready, and is not.
_AGAIN_S: Final = 0.01
# A session whose host has gone and that cannot pass on what it was told last is ended after this.
_HANGS_S: Final = 1.0
# A process that dies leaves its ends one after the other, within this time in seconds.
_DIES_S: Final = 0.01
# A host that has gone: its pipe, socket or terminal is closed.
_GONE: Final = frozenset({EPIPE, ECONNRESET, EIO})


class Pipes:
    """What a host says and is told. One thread reads; any may speak."""

    def __init__(self, output: int) -> None:
        self._output = output
        self._speaking = threading.Lock()

    @classmethod
    def taken(cls) -> Pipes:
        """Take standard output for the host: whatever prints from now on prints to its log.

        Raises:
            BadSetup: there is no standard output.
        """
        with suppress(OSError):
            os.fstat(1)
            # Where there is none, nothing that is opened later may get its number.
            for number in (0, 2):
                _open_if_closed(number)
            output = os.dup(1)
            os.dup2(2, 1)
            return cls(output)
        raise BadSetup(
            "Standard output is closed: no host can hear what is answered.",
            hint="Start `agentbus serve` with its standard input and output open, as MCP hosts do.",
        )

    def lines(self, limit: int) -> Iterator[bytes]:
        """Yield what the host says, as `Lines` does; then what stood behind the last end."""
        lines = Lines(limit)
        while piece := self._read():
            yield from lines.ended_by(piece)
        if last := lines.last():
            yield last

    def say(self, line: bytes) -> None:
        """Tell the host something, when it takes it.

        Raises:
            OSError: it has gone; the process has been told to end.
        """
        left = memoryview(line)
        try:
            with self._speaking:
                while left:
                    _wait_to_write(self._output)
                    try:
                        left = left[os.write(self._output, left[:_AT_ONCE_BYTES]) :]
                    except BlockingIOError:
                        time.sleep(_AGAIN_S)
        except OSError as error:
            _end_unless_gone(error, "output takes nothing more")
            os.kill(os.getpid(), signal.SIGTERM)
            raise

    def pass_on(self, line: bytes, to: socket.socket) -> None:
        """Send all of a line that the host has said to a server, when that takes it.

        Raises:
            OSError: the connection has ended.
        """
        left = memoryview(line)
        while left:
            try:
                left = left[to.send(left, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                _wait_to_write(to.fileno())

    def has_heard_all(self) -> bool:
        """Tell of a host that says no more whether it lives and has read all that it was told.

        A file has read what it was told, and so has a host whose system does not tell that.
        """
        import fcntl
        import termios

        poll = select.poll()
        poll.register(self._output, 0)  # only that nobody reads there any more
        if poll.poll(_DIES_S * 1000):
            return False
        is_pipe = stat.S_ISFIFO(os.fstat(self._output).st_mode)
        unread = termios.FIONREAD if is_pipe else termios.TIOCOUTQ
        with suppress(OSError):
            return not any(fcntl.ioctl(self._output, unread, bytes(4)))
        return True

    def _read(self) -> bytes:
        """Return what the host says next, however long that takes; b"" at the end."""
        while True:
            try:
                return os.read(0, _CHUNK_BYTES)
            except BlockingIOError:
                poll = select.poll()
                poll.register(0, select.POLLIN)
                poll.poll()
            except OSError as error:
                _end_unless_gone(error, "input cannot be read")
                return b""


def _wait_to_write(descriptor: int) -> None:
    """Wait until a descriptor takes more; tell this process to end if the host goes meanwhile."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.register(0, 0)  # only its hang-up, which is seen behind what was not read yet
    if descriptor not in {ready for ready, _ in poll.poll()}:
        poll.unregister(0)
        if not poll.poll(_HANGS_S * 1000):
            os.kill(os.getpid(), signal.SIGTERM)


def _end_unless_gone(error: OSError, what: str) -> None:
    """End the process, saying why, if an error of the host's end is not that it has gone."""
    if error.errno not in _GONE:
        with suppress(OSError):
            os.write(2, f"agentbus: Standard {what}: {error.strerror}.\n".encode())
        os._exit(1)


def _open_if_closed(descriptor: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)
