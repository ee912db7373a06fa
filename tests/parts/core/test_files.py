# SPDX-License-Identifier: Apache-2.0
"""What lies in the place of a file is read without waiting, or refused by what it is."""

import errno
import os
import socket

import pytest

from mcp_agentbus.core import files, locks
from mcp_agentbus.errors import BadSetup


def folder(path):
    path.mkdir()


def pipe(path):
    os.mkfifo(path, 0o600)


def device(path):
    path.symlink_to("/dev/zero")


def link_to_nothing(path):
    path.symlink_to(path.parent / "nothing")


def socket_file(path, monkeypatch):
    monkeypatch.chdir(path.parent)  # its whole path may be too long for an address
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path.name)


def larger(path):
    path.write_bytes(bytes(files.READ_MAX_BYTES + 1))


KINDS = [
    (folder, "a folder and no file"),
    (pipe, "a pipe and no file"),
    (device, "a device and no file"),
    (link_to_nothing, "a link that leads to nothing"),
    (larger, "larger than 1,024 KiB"),
]


@pytest.mark.parametrize(("put", "why"), KINDS, ids=[put.__name__ for put, _ in KINDS])
def test_what_is_no_file_is_refused_by_what_it_is(put, why, tmp_path):
    put(tmp_path / "file")

    with pytest.raises(OSError, match=why) as refused:
        files.read_whole(tmp_path / "file")
    assert not isinstance(refused.value, FileNotFoundError)
    assert "move what is there away" in files.unusable(refused.value).hint


def test_a_socket_is_none_either(tmp_path, monkeypatch):
    socket_file(tmp_path / "file", monkeypatch)

    with pytest.raises(OSError, match="a socket and no file"):
        files.read_whole(tmp_path / "file")


def test_a_file_is_read_whole_also_through_a_link_and_by_its_end(tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789")
    (tmp_path / "link").symlink_to("file")

    assert files.read_whole(tmp_path / "link", at_most=10) == b"0123456789"
    assert files.read_end(tmp_path / "link", 3) == b"789"
    assert files.read_end(tmp_path / "link", 30) == b"0123456789"
    with pytest.raises(FileNotFoundError):
        files.read_whole(tmp_path / "nothing")


def test_a_pipe_is_no_lock(tmp_path):
    pipe(tmp_path / "lock")

    with pytest.raises(OSError, match="a pipe and no file"):
        locks.take(tmp_path / "lock", wait=True)
    assert locks.holder(tmp_path / "lock") is None


def test_of_a_disk_that_is_read_only_it_is_said_what_that_means(tmp_path):
    """It was said to look at the rights of the folder, or to choose another one."""
    error = OSError(errno.EROFS, "Read-only file system", str(tmp_path / "file"))

    assert "mounted read-only" in files.unusable(error).hint
    assert f"df {tmp_path}, then mount; or name a folder" in files.unusable(error).hint


def damaged(path):
    raise files.damaged(path, "then the same.")


@pytest.mark.parametrize("look", [files.check_own, files.check_private, damaged])
def test_what_mends_a_file_can_be_typed_though_its_path_has_a_space(look, tmp_path):
    path = tmp_path / "Application Support"
    path.touch()
    path.chmod(0o666)

    with pytest.raises(BadSetup) as refused:
        look(path)
    assert f" '{path}'" in refused.value.hint
