# SPDX-License-Identifier: Apache-2.0
"""Whose process is at the other end of a connection, by what the kernel says of its sockets."""

import os
import socket
import sys
from contextlib import contextmanager

import pytest

from mcp_agentbus.wakes.hosts import peer

ANOTHER = 4711

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody can tell")


@contextmanager
def connected(listens="127.0.0.1", to="127.0.0.1"):
    """Give the end of who has connected, and the socket that listens."""
    family = socket.AF_INET6 if ":" in listens else socket.AF_INET
    with socket.socket(family) as listening:
        listening.bind((listens, 0))
        listening.listen()
        with socket.create_connection((to, listening.getsockname()[1])) as ours:
            yield ours, listening


@linux_only
@pytest.mark.parametrize(
    ("listens", "to"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::1", "::1"),
        ("::", "::1"),
        ("::", "127.0.0.1"),  # by a socket of both families
    ],
)
def test_who_listens_is_known_before_and_after_it_has_taken_the_connection(listens, to):
    with connected(listens, to) as (ours, listening):
        waiting = peer.owner(ours)
        taken, _ = listening.accept()
        listening.close()
        with taken:
            assert (waiting, peer.owner(ours)) == (os.geteuid(), os.geteuid())
        assert not peer.is_anothers(ours)


def tables(tmp_path, *rows):
    """Write what the kernel says of sockets: from where to where, in which state, whose, by which inode."""
    lines = ["  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid"]
    lines += [
        f"  0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000 {uid} 0 {inode} 1"
        for local, remote, state, uid, inode in rows
    ]
    file = tmp_path / "tcp"
    file.write_text("\n".join(lines) + "\n")
    return (str(file), str(tmp_path / "missing"))


LISTENS, CONNECTED = "0A", "01"


@pytest.mark.parametrize(
    ("states", "is_anothers"),
    [
        ([(LISTENS, ANOTHER, 7)], True),
        (
            [(LISTENS, ANOTHER, 7), (CONNECTED, 0, 0)],
            True,
        ),  # not taken yet: it is said to be root's
        ([(LISTENS, "ours", 7), (CONNECTED, ANOTHER, 8)], True),
        ([(CONNECTED, ANOTHER, 8)], True),  # it listens no more
        ([(LISTENS, ANOTHER, 7), (LISTENS, "ours", 8)], True),  # by which it is taken is not known
        ([(LISTENS, "ours", 7)], False),
        ([(LISTENS, 0, 7)], False),  # root reads the token anyway
        ([(LISTENS, ANOTHER, 7), (CONNECTED, "ours", 8)], False),
        ([], False),
    ],
)
def test_another_user_is_told_from_this_one_and_root(tmp_path, monkeypatch, states, is_anothers):
    with connected() as (ours, _):
        [theirs], [mine] = (
            [each for each in peer._spelled(*name) if len(each) == 13]
            for name in (ours.getpeername(), ours.getsockname())
        )
        rows = [
            (
                theirs,
                mine if state == CONNECTED else "00000000:0000",
                state,
                os.geteuid() if uid == "ours" else uid,
                inode,
            )
            for state, uid, inode in states
        ]
        monkeypatch.setattr(peer, "_TABLES", tables(tmp_path, *rows))

        assert peer.is_anothers(ours) is is_anothers
