# SPDX-License-Identifier: Apache-2.0
"""A server whose lock, or whose files, somebody has removed: there is never a second one."""

import errno
import fcntl
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from halting import halt
from local_server import is_gone, server_pids, until

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.own import strays
from mcp_agentbus.core import locks
from mcp_agentbus.errors import BusUnreachable

SEEN = pytest.mark.skipif(sys.platform != "linux", reason="macOS tells of no open files")


def left_alone(settings, files, lost):
    """Start a server, and remove what it has of its own."""
    server, path = embedded.ensure(settings), getattr(files, lost)
    path.unlink() if lost == "lock" else shutil.rmtree(path)
    return server


@pytest.mark.parametrize("lost", ["lock", "store", "root"])
def test_one_that_was_left_alone_is_ended_before_the_next_one_starts(settings, files, lost):
    first = left_alone(settings, files, lost)

    assert embedded.find(settings) is None
    said = embedded.absence(settings) or strays.told(files)
    assert "somebody has moved or removed" in said.message
    assert "server start" in said.hint
    second = embedded.ensure(settings)

    assert second.how == "started"
    assert server_pids(settings) == [second.pid] != [first.pid]


@pytest.mark.parametrize("lost", ["lock", "store", "root"])
def test_stop_ends_one_that_was_left_alone_and_says_that_one_was_running(settings, files, lost):
    first = left_alone(settings, files, lost)

    assert embedded.stop(settings) is True
    until(lambda: is_gone(first.pid), "it is gone")
    assert embedded.stop(settings) is False


def test_what_it_has_taken_before_is_in_the_next_one(settings, files):
    first = embedded.ensure(settings)
    (files.store / "kept").touch()
    files.lock.unlink()

    assert embedded.ensure(settings).pid != first.pid
    assert (files.store / "kept").exists()


def test_one_that_nobody_sees_keeps_its_files_to_itself(settings, files, monkeypatch):
    """As in a sandbox, from where no other process is seen."""
    server = embedded.ensure(settings)
    files.lock.unlink()
    monkeypatch.setattr(strays, "of", lambda _: [])
    monkeypatch.setattr(embedded, "_STARTS_WITHIN_S", 0.0)

    with pytest.raises(BusUnreachable, match=rf"{files.store}.*server\.lock.*removed.*server stop"):
        embedded.ensure(settings)

    assert server_pids(settings) == [server.pid]


def test_one_that_does_not_end_is_not_followed_by_another(settings, files, monkeypatch):
    server = embedded.ensure(settings)
    files.lock.unlink()
    halt(server.pid)
    monkeypatch.setattr(strays, "_ENDS_WITHIN_S", 0.05)
    monkeypatch.setattr(strays.processes, "signal", lambda *_, **__: True)

    with pytest.raises(BusUnreachable, match=f"did not end.*kill -9 {server.pid}"):
        embedded.ensure(settings)

    assert server_pids(settings) == [server.pid]


@SEEN
def test_a_process_of_the_same_words_that_has_nothing_of_it_open_is_none(settings, files):
    embedded.ensure(settings)
    argv = ["sh", "-c", "read _; exit", "-c", str(files.conf)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as other:
        assert [each.pid for each in strays.of(files)] == server_pids(settings)[:1]
        embedded.stop(settings)
        assert embedded.stop(settings) is False
        assert other.poll() is None
        other.stdin.close()


def test_where_no_folder_can_be_locked_a_server_starts_without(settings, files, monkeypatch):
    """As on a disk of a network, where that is a lock for who may write to it."""
    real = fcntl.flock

    def flock(descriptor, how):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)

    assert embedded.ensure(settings).how == "started"
    monkeypatch.undo()
    with locks.folder_held(files.store, within_s=0) as store:
        assert store > 0  # nobody has it


async def test_a_connection_to_a_server_whose_files_are_gone_is_not_used_any_more(settings, files):
    async with Bus(settings) as bus:
        await bus.api("INFO")
        first = embedded.find(settings)
        shutil.rmtree(files.root)

        await bus.api("INFO")

        assert bus.connections == 2
        second = embedded.find(settings)
        assert server_pids(settings) == [second.pid] != [first.pid]
        await bus.api("INFO")
        assert bus.connections == 2


async def test_a_sign_of_life_for_a_server_whose_files_are_gone_starts_no_other(settings, files):
    async with Bus(settings) as bus:
        await bus.api("INFO")
        shutil.rmtree(files.store)

        with pytest.raises(BusUnreachable, match=f"removed {files.store}.*server start"):
            await bus.send("agentbus.a.presence", b"", {})


@pytest.mark.skipif(not Path("/bin/ps").exists(), reason="there is no ps")
@pytest.mark.parametrize("linux", [sys.platform == "linux", False])
def test_servers_are_known_by_their_words_where_only_ps_tells(settings, files, monkeypatch, linux):
    monkeypatch.setattr(strays.processes, "_LINUX", linux)

    server = embedded.ensure(settings)

    assert strays.processes.started_with("-c", str(files.conf)) == [server.pid]
    assert strays.processes.started_with("-c", f"{files.conf}x") == []
