# SPDX-License-Identifier: Apache-2.0
"""The seat of the one listener: who has it, for whom it counts, and what is swept away."""

import os
from pathlib import Path

import pytest
from local_server import settings_at

from mcp_agentbus.core import locks, processes
from mcp_agentbus.core.places import Place
from mcp_agentbus.errors import NoListener
from mcp_agentbus.relay import seat


@pytest.fixture
def where(tmp_path):
    return settings_at(tmp_path / "bus")


def test_of_two_one_has_it_and_is_named(where):
    assert seat.seated(where) is None
    assert seat.absence(where).message == NoListener().message

    with seat.taken(where) as first, seat.taken(where) as second:
        there = seat.seated(where)

    assert (first, second) == (True, False)
    assert there.process.pid == os.getpid()
    assert there.who.startswith(f"a listener (pid {os.getpid()} on host {os.uname().nodename} ")
    assert seat.seated(where) is None


def test_one_that_has_the_folder_of_the_socket_has_it_too(where):
    """An earlier version's, or one of another container that shares the folder."""
    with locks.held(seat.door_lock(where), wait=False):
        with seat.taken(where) as is_ours:
            assert not is_ours
        assert seat.seated(where).process is None
        assert seat.absence(where).hint.endswith(f": fuser {seat.door_lock(where)}")


def test_its_lock_is_named_as_it_is_typed_in_a_shell(tmp_path):
    """In macOS' own folders there is a space."""
    where = Place(str(tmp_path / "Application Support"), {"HOME": str(tmp_path)})
    Path(where.runtime_dir).mkdir()
    with locks.held(seat.door_lock(where), wait=False):
        assert seat.absence(where).hint.endswith(f": fuser '{seat.door_lock(where)}'")


def test_one_elsewhere_is_told_of_with_its_host(where):
    theirs = processes.known(os.getpid())._replace(host="web-1", space="another-boot pid:[1]")
    with locks.held(seat.door_lock(where), wait=False) as lock:
        locks.sign(lock, theirs)
        told = seat.absence(where)

    assert f"runs elsewhere: pid {os.getpid()} on host web-1 in another pid" in told.message
    assert not processes.is_still(theirs)
    assert not processes.signal(theirs, 0)


@pytest.mark.parametrize(
    ("host", "space", "age_s", "is_kept"),
    [
        ("", "another-boot pid:[1]", 0, False),  # of this machine, before it was started anew
        ("", "{boot} pid:[1]", 0, True),  # a container that may start again
        ("web-1", "another-boot pid:[1]", 0, True),  # another machine on the same disk
        ("web-1", "another-boot pid:[1]", 31 * 86400, False),
    ],
)
def test_locks_of_what_is_gone_are_swept_away(where, host, space, age_s, is_kept):
    boot = processes.space().partition(" ")[0]
    theirs = processes.known(os.getpid())._replace(
        host=host or os.uname().nodename, space=space.format(boot=boot)
    )
    old = Path(seat.seat_lock(where, theirs.space))
    with locks.held(old, wait=False) as lock:
        locks.sign(lock, theirs)
        _touch(old, age_s)
        with seat.taken(where) as is_ours:
            assert is_ours
        assert old.exists()  # it is held

    _touch(old, age_s)
    with seat.taken(where):
        assert old.exists() is is_kept


def _touch(file, age_s):
    at = file.stat().st_mtime - age_s
    os.utime(file, (at, at))
