# SPDX-License-Identifier: Apache-2.0
"""Lines out of a stream of bytes, however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_agentbus.core import lines
from mcp_agentbus.core.lines import Lines


@pytest.mark.parametrize(
    ("pieces", "ended"),
    [
        ([b"one\ntwo\n"], [[b"one\n", b"two\n"]]),
        ([b"o", b"ne", b"\n"], [[], [], [b"one\n"]]),
        ([b"one\nt", b"wo\nthree"], [[b"one\n"], [b"two\n"]]),
        ([b"\n\n"], [[b"\n", b"\n"]]),
        ([b"one\r\n"], [[b"one\r\n"]]),
        ([b"one\x0b\x85\n"], [[b"one\x0b\x85\n"]]),
        ([b"", b"one\n"], [[], [b"one\n"]]),
        ([b"one"], [[]]),
    ],
)
def test_a_line_comes_with_the_piece_that_ends_it(pieces, ended):
    stream = Lines()

    assert [stream.ended_by(piece) for piece in pieces] == ended


@given(st.lists(st.binary(max_size=6).map(lambda piece: piece.replace(b"1", b"\n")), max_size=8))
def test_however_a_stream_is_cut_its_whole_lines_are_the_same(pieces):
    whole, _, _cut = b"".join(pieces).rpartition(b"\n")
    stream = Lines()

    found = [line for piece in pieces for line in stream.ended_by(piece)]

    assert b"".join(found) == whole + b"\n" * bool(found)
    assert all(line.count(b"\n") == 1 and line.endswith(b"\n") for line in found)


def test_a_stream_is_read_to_its_end_and_what_is_cut_is_dropped():
    pieces = iter([b"one\nt", b"wo\ncut", b""])

    assert list(lines.read_from(lambda: next(pieces))) == [b"one\n", b"two\n"]


def test_of_a_line_that_is_too_long_only_its_ends_are_kept_and_the_next_is_whole():
    stream = Lines(100_000)
    long = b"head" + b"x" * 1_000_000 + b"tail"
    pieces = [long[start : start + 999] for start in range(0, len(long), 999)]

    assert [stream.ended_by(piece) for piece in pieces] == [[]] * len(pieces)
    assert (cut := stream.last()) == stream.ends(cut) != b""
    assert stream.last() == b""
    for piece in pieces:
        stream.ended_by(piece)
    [cut, whole] = stream.ended_by(b"\nnext\n")

    assert (cut[:4], cut[-4:], whole) == (b"head", b"tail", b"next\n")
    assert stream.ended_by(b"y" * 100_000 + b"\n") == [b"y" * 100_000 + b"\n"]


def test_what_comes_behind_the_last_end_is_a_line_to_who_asks_for_it():
    stream = Lines(10)

    assert stream.ended_by(b"one\ntwo") == [b"one\n"]
    assert [stream.last(), stream.last()] == [b"two\n", b""]
