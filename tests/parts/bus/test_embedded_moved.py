# SPDX-License-Identifier: Apache-2.0
"""A server whose folder has another name than at its start: it is found, ended and followed."""

import sys
from dataclasses import replace

import pytest
from local_server import is_gone, kill, server_folder, server_pids, settings_at, until

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.own import strays
from mcp_agentbus.core import locks
from mcp_agentbus.doctor.stored import folder
from mcp_agentbus.errors import BadSetup

SEEN = pytest.mark.skipif(sys.platform != "linux", reason="macOS tells of no open files")


@pytest.fixture
def moved(settings, tmp_path):
    """A server whose folder was moved meanwhile, and the settings that lead to it."""
    server = embedded.ensure(settings)
    settings.data_dir.parent.rename(tmp_path / "moved")
    with server_folder(tmp_path / "moved") as there:
        yield server, there


def test_one_whose_folder_was_moved_is_not_used_and_says_what_to_do(moved):
    server, there = moved

    assert embedded.find(there) is None
    said = embedded.absence(there)
    assert f"pid {server.pid}" in said.message
    assert f"was moved to {there.data_dir}" in said.message
    assert "server start" in said.hint


def test_one_whose_folder_was_moved_is_stopped(moved):
    server, there = moved

    assert embedded.stop(there) is True
    until(lambda: is_gone(server.pid), "it is gone")


def test_one_whose_folder_was_moved_is_followed_by_one_that_keeps_what_it_is_told(moved):
    first, there = moved

    second = embedded.ensure(there)

    assert second.how == "started"
    until(lambda: is_gone(first.pid), "the first one is gone")
    assert embedded.find(there).pid == second.pid


def test_one_of_an_earlier_version_whose_folder_was_moved_is_stopped_by_its_lock(moved):
    server, there = moved
    embedded.Files(there.data_dir).lock.write_bytes(b"")

    assert embedded.stop(there) is True
    until(lambda: is_gone(server.pid), "it is gone")


def test_by_a_link_to_its_folder_a_server_is_found_and_stopped(settings, tmp_path):
    server = embedded.ensure(settings)
    (tmp_path / "link").symlink_to(settings.data_dir.parent)
    linked = settings_at(tmp_path / "link")

    assert embedded.find(linked).pid == server.pid
    assert embedded.stop(linked) is True
    until(lambda: is_gone(server.pid), "it is gone")


def test_one_that_has_another_name_for_the_folder_as_in_a_container_is_used(moved, monkeypatch):
    server, there = moved
    monkeypatch.setattr(strays.processes, "sees_same_files", lambda _: False)

    assert embedded.find(there).pid == server.pid


def test_a_starter_that_writes_its_configuration_yet_is_no_server_that_was_moved(moved):
    server, there = moved
    kill(server)
    files = embedded.Files(there.data_dir)

    with locks.held(files.lock, wait=False) as lock:
        locks.sign(lock, strays.processes.known(strays.os.getpid()))
        assert not strays.is_bereft(files)


@SEEN
def test_one_that_runs_on_where_a_folder_was_moved_to_is_ended_before_the_next(moved, settings):
    first, _ = moved
    files = embedded.Files(settings.data_dir)

    assert "moved or removed" in strays.told(files).message
    second = embedded.ensure(settings)
    assert server_pids(settings) == [second.pid] != [first.pid]


@SEEN
def test_one_that_runs_beside_the_next_is_told_of_and_ended_with_it(moved, settings, monkeypatch):
    """As an earlier version has left it."""
    first, there = moved
    monkeypatch.setattr(strays, "of", lambda _: [])
    second = embedded.ensure(settings)
    monkeypatch.undo()

    [told] = folder.beside(settings, embedded.find(settings))
    assert f"pid {first.pid}" in told.said
    assert "server stop" in told.fix
    assert folder.beside(there, None) == []
    assert embedded.stop(settings) is True
    until(lambda: is_gone(first.pid) and is_gone(second.pid), "both are gone")


@SEEN
def test_the_only_server_is_none_beside_itself_whatever_its_number_is_in_a_sandbox(settings):
    """As where it was started in a pid namespace of its own: its address names that number."""
    server = embedded.ensure(settings)

    assert folder.beside(settings, replace(server, pid=7)) == []


def test_a_folder_that_is_a_link_is_told_of_before_a_server_is_to_start_there(settings, tmp_path):
    embedded.ensure(settings)
    embedded.stop(settings)
    assert folder.linked(settings) is None
    settings.data_dir.rename(tmp_path / "elsewhere")
    settings.data_dir.symlink_to(tmp_path / "elsewhere")

    told = folder.linked(settings)

    assert (told.state, "symlink" in told.said) == ("wrong", True)
    with pytest.raises(BadSetup, match="symlink"):
        embedded.ensure(settings)
    shared = settings_at(settings.data_dir.parent, AGENTBUS_URL="nats://127.0.0.1:1")
    assert folder.linked(shared) is None
