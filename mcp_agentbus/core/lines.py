# SPDX-License-Identifier: Apache-2.0
r"""Lines out of a stream of bytes that comes in pieces.

    >>> lines = Lines()
    >>> lines.ended_by(b'{"id": 1}\n{"id"')
    [b'{"id": 1}\n']
    >>> lines.ended_by(b": 2}\n")
    [b'{"id": 2}\n']

It reads nothing itself, so it serves whoever reads a socket with or without asyncio. A line may be
of any length: whoever reads from a stranger limits what he reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator


class Lines:
    """What has come of a line that has not ended yet."""

    def __init__(self) -> None:
        #: In pieces: joined at each of them, a long line would be copied once a piece.
        self._begun: list[bytes] = []

    def ended_by(self, piece: bytes) -> list[bytes]:
        """Take the next piece of the stream; return the lines that are whole now, with their ends.

        What comes behind the last end is kept for the next piece, and dropped if none comes.
        """
        *ends, rest = piece.split(b"\n")
        lines = []
        for end in ends:
            lines.append(b"".join((*self._begun, end, b"\n")))
            self._begun = []
        if rest:
            self._begun.append(rest)
        return lines


def read_from(read: Callable[[], bytes]) -> Iterator[bytes]:
    """Yield the whole lines of a stream, with their ends; `read` returns b"" at its end."""
    lines = Lines()
    while piece := read():
        yield from lines.ended_by(piece)
