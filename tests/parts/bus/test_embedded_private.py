# SPDX-License-Identifier: Apache-2.0
"""The embedded server is its user's alone: files, token, addresses, and strangers in its place."""

import fcntl
import os
import socket
import stat
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from local_server import command_lines, kill, port_of, server_pids

from mcp_agentbus.bus import embedded
from mcp_agentbus.errors import BadSetup

OURS = ("token", "nats.conf", "nats.log", "port", "ran-on", "server.lock")


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.promise(41)
def test_the_folder_is_0700_and_every_file_of_ours_0600_whatever_the_umask(settings, files):
    files.root.mkdir(parents=True, mode=0o777)
    files.conf.touch(mode=0o644)
    before = os.umask(0)
    try:
        embedded.ensure(settings)
    finally:
        os.umask(before)

    assert {path: mode(path) for path in (files.root, files.ports)} == dict.fromkeys(
        (files.root, files.ports), 0o700
    )
    assert {name: mode(files.root / name) for name in OURS} == dict.fromkeys(OURS, 0o600)
    assert {path.name for path in files.root.iterdir() if path.is_file()} == set(OURS)


@pytest.mark.promise(40)
def test_no_command_line_shows_the_token(settings):
    server = embedded.ensure(settings)
    token = embedded.read_token(settings)

    lines = command_lines()

    assert server.pid in lines
    assert [line for line in lines.values() if token in line] == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_environment_holds_the_token(settings):
    server = embedded.ensure(settings)

    environ = Path(f"/proc/{server.pid}/environ").read_bytes()

    assert embedded.read_token(settings).encode() not in environ


@pytest.mark.promise(41)
@pytest.mark.parametrize("call", [embedded.ensure, embedded.find])
def test_a_token_that_others_may_read_is_refused_with_the_command_that_mends_it(
    settings, files, call
):
    server = embedded.ensure(settings)
    files.token.chmod(0o644)

    with pytest.raises(BadSetup, match=f"chmod 600 {files.token}"):
        call(settings)
    files.token.chmod(0o600)

    assert embedded.ensure(settings).pid == server.pid


@pytest.mark.parametrize("text", ["", "short", "A" * 42, "A" * 43 + "\n", '" }\nport: 4222 #' * 3])
def test_a_damaged_token_opens_no_server(settings, files, text):
    files.root.mkdir(parents=True)
    files.token.touch(mode=0o600)
    files.token.write_text(text)

    with pytest.raises(BadSetup, match=f"rm {files.token}"):
        embedded.ensure(settings)
    assert server_pids(settings) == []


@pytest.mark.promise(41)
def test_a_token_that_is_a_symlink_is_refused(settings, files, tmp_path):
    files.root.mkdir(parents=True)
    files.token.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(BadSetup, match="symlink"):
        embedded.ensure(settings)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("token", [None, "", "A" * 43])
def test_the_server_refuses_whoever_has_not_the_token(settings, token):
    server = embedded.ensure(settings)
    login = "{}" if token is None else f'{{"auth_token": "{token}"}}'

    with socket.create_connection(("127.0.0.1", port_of(server)), 30) as connection:
        connection.sendall(f"CONNECT {login}\r\nPING\r\n".encode())
        with connection.makefile("rb") as lines:
            said = lines.read()

    assert b"-ERR 'Authorization Violation'" in said
    assert b"PONG" not in said


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_server_listens_on_one_port_of_the_loopback_address_and_nowhere_else(settings):
    server = embedded.ensure(settings)
    process = Path(f"/proc/{server.pid}")
    held, listening = set(), set()
    for path in (process / "fd").iterdir():
        with suppress(FileNotFoundError):  # it has closed that meanwhile
            held.add(str(path.readlink()))
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for row in (process / "net" / table).read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = row.split()[:10]
            if f"socket:[{inode}]" in held and (state == "0A" or table.startswith("udp")):
                listening.add((table, local))

    assert listening == {("tcp", f"0100007F:{port_of(server):04X}")}


def test_the_token_is_not_sent_to_a_stranger_on_a_dead_servers_port(settings, files):
    server = embedded.ensure(settings)
    kill(server)
    with socket.create_server(("127.0.0.1", port_of(server))) as stranger:
        stranger.setblocking(False)

        assert embedded.find(settings) is None
        with files.lock.open("rb") as another_who_looks:
            fcntl.flock(another_who_looks, fcntl.LOCK_SH)
            assert embedded.find(settings) is None
        with pytest.raises(BlockingIOError):
            stranger.accept()


@pytest.mark.promise(41)
def test_a_symlinked_folder_is_refused(settings, files, tmp_path):
    files.root.parent.mkdir()
    files.root.symlink_to(tmp_path)

    with pytest.raises(BadSetup, match="symlink"):
        embedded.ensure(settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["", "run", "server.lock", "token", "nats.conf", "nats.log"])
def test_what_is_in_the_way_of_a_file_is_named(settings, files, name):
    """A folder where a file must be, or a file where a folder must be, is no traceback."""
    in_the_way = files.root / name
    if name in {"", "run"}:
        in_the_way.parent.mkdir(parents=True)
        in_the_way.touch(mode=0o600)
    else:
        in_the_way.mkdir(mode=0o700, parents=True)

    with pytest.raises(BadSetup, match=str(in_the_way)):
        embedded.ensure(settings)
    assert server_pids(settings) == []


@pytest.mark.parametrize("name", ["root", "ports", "store"])
@pytest.mark.parametrize("running", [True, False])
def test_a_folder_of_its_own_that_was_closed_to_its_user_is_opened_again(
    settings, files, name, running
):
    embedded.ensure(settings)
    if not running:
        embedded.stop(settings)
    folder = getattr(files, name)
    folder.chmod(0)

    with suppress(BadSetup):  # a search alone opens nothing
        embedded.find(settings)
    if os.geteuid() == 0:  # who may list it all the same
        embedded._prepare(settings)
    embedded.ensure(settings)

    assert mode(folder) == 0o700
