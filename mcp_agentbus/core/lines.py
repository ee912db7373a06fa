# SPDX-License-Identifier: Apache-2.0
r"""Lines out of a stream of bytes that comes in pieces.

    >>> lines = Lines()
    >>> lines.ended_by(b'{"id": 1}\n{"id"')
    [b'{"id": 1}\n']
    >>> lines.ended_by(b": 2}\n")
    [b'{"id": 2}\n']

It reads nothing itself, so it serves whoever reads a socket with or without asyncio. Whoever reads
from a stranger sets a limit: of a longer line nothing is kept but its ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

#: How much is kept of either end of a line that is too long, in bytes.
ENDS_BYTES: Final = 4096
# What a relay and the server behind it tell each other in the lines of a session.
#: In `_meta` of a request: how many of its characters were no text.
NO_TEXT: Final = "agentbus/no_text"
#: In `_meta`: how many seconds ago it was first said, to a server that has ended.
SAID_BEFORE: Final = "agentbus/said_before_s"
#: In `_meta`: that server may have carried it out.
MAYBE_DONE: Final = "agentbus/maybe_done"
#: A server's notification: it will leave, and until then does what it is asked.
LEAVING: Final = "notifications/agentbus/leaving"
#: The relay's answer to that: another server is ready.
READY: Final = "notifications/agentbus/ready"
#: A relay's last notification: its host has read all that it was told, and has no more to say.
HEARD: Final = "notifications/agentbus/heard"
#: A server's last notification: it has carried out nothing that it has not answered.
LEFT: Final = "notifications/agentbus/left"


class Lines:
    """What has come of a line that has not ended yet.

    Args:
        limit: how long a line may be, in bytes without its end; None if of any length.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        #: In pieces: joined at each of them, a long line would be copied once a piece.
        self._begun: list[bytes] = []
        self._length = 0

    def ended_by(self, piece: bytes) -> list[bytes]:
        """Take the next piece of the stream; return the lines that are whole now, with their ends.

        One over the limit comes cut: its first and its last bytes, and no end.
        """
        *ends, rest = piece.split(b"\n")
        lines = []
        for end in ends:
            self._take(end)
            lines.append(self._ended())
        self._take(rest)
        return lines

    def last(self) -> bytes:
        """Return what came behind the last end as a line with an end; b"" if nothing came."""
        return self._ended() if self._begun else b""

    def _ended(self) -> bytes:
        line = b"".join(self._begun)
        if not self._is_long:
            line += b"\n"
        self._begun, self._length = [], 0
        return line

    @property
    def _is_long(self) -> bool:
        return self._limit is not None and self._length > self._limit

    def _take(self, more: bytes) -> None:
        if not more:
            return
        self._begun.append(more)
        self._length += len(more)
        if self._is_long:
            kept = self.ends(b"".join(self._begun))
            self._begun = [kept]

    @staticmethod
    def ends(line: bytes) -> bytes:
        """Return a line without its middle."""
        return line if len(line) <= 2 * ENDS_BYTES else line[:ENDS_BYTES] + line[-ENDS_BYTES:]


def read_from(read: Callable[[], bytes]) -> Iterator[bytes]:
    """Yield the whole lines of a stream, with their ends; `read` returns b"" at its end."""
    lines = Lines()
    while piece := read():
        yield from lines.ended_by(piece)
