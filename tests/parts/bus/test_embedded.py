# SPDX-License-Identifier: Apache-2.0
"""The embedded server's life, with a real nats-server: started, found, stopped, reaped."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time

import pytest
from halting import halt
from local_server import (
    command_lines,
    is_gone,
    kill,
    kill_servers,
    port_of,
    script,
    server_pids,
    until,
)
from undescribed import WAYS, take_descriptors

from mcp_agentbus.bus import embedded
from mcp_agentbus.config.sections.server import IN_ENVIRON
from mcp_agentbus.core import locks, processes
from mcp_agentbus.errors import BadSetup, BusUnreachable


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


@pytest.mark.parametrize("way", [None, *WAYS])
def test_stop_ends_the_server_and_says_that_one_was_running(settings, monkeypatch, way):
    take_descriptors(monkeypatch, way)
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
    send = embedded.processes.signal

    def too_late(process, number, **which):
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: is_gone(server.pid), "the server is gone")
        return send(process, number, **which)

    monkeypatch.setattr(embedded.processes, "signal", too_late)

    assert embedded.stop(settings) is False
    assert embedded.find(settings) is None


def test_stop_ends_when_somebody_else_starts_the_next_server_at_once(settings, monkeypatch):
    server = embedded.ensure(settings)
    following = []

    def then_start(*_):
        monkeypatch.undo()
        kill(server)
        following.append(embedded.ensure(settings))
        return True

    monkeypatch.setattr(embedded, "_signal", then_start)

    assert embedded.stop(settings) is True
    assert embedded.find(settings).pid == following[0].pid != server.pid


def test_stop_leaves_a_server_alone_that_is_started_as_it_looks_for_others(settings, monkeypatch):
    """One of the same files that holds its lock is none that somebody has left alone."""
    embedded.ensure(settings)
    embedded.stop(settings)
    started = []

    def then_start(_):
        monkeypatch.undo()
        started.append(embedded.ensure(settings))
        return False

    monkeypatch.setattr(embedded.locks, "is_held", then_start)

    assert embedded.stop(settings) is False
    assert embedded.find(settings).pid == started[0].pid


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


def test_stop_ends_a_server_that_was_halted(settings):
    server = embedded.ensure(settings)
    halt(server.pid)

    assert embedded.stop(settings) is True
    until(lambda: is_gone(server.pid), "the server is gone")


def test_stop_says_how_to_kill_a_server_that_hangs(settings, monkeypatch):
    server = embedded.ensure(settings)
    monkeypatch.setattr(embedded, "STOP_TIMEOUT_S", 0.1)
    monkeypatch.setattr(embedded, "_signal", lambda *_: True)  # it does not listen

    with pytest.raises(BusUnreachable, match=f"kill -9 {server.pid}"):
        embedded.stop(settings)
    assert server_pids(settings) == [server.pid]


def test_stop_harms_no_process_that_has_got_the_number_of_a_dead_server(
    settings, files, monkeypatch
):
    """Not even one that was started with the same words, or holds the lock."""
    embedded.ensure(settings)
    kill_servers(settings)
    until(lambda: not locks.is_held(files.lock), "nothing of it holds the lock")
    monkeypatch.setattr(embedded, "_STARTS_WITHIN_S", 0.05)
    argv = ["cat", "-", str(files.conf)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True) as other:
        theirs = processes.known(other.pid)
        assert embedded.stop(settings) is False  # the lock is free
        files.lock.unlink()
        assert embedded.stop(settings) is False  # there is none

        for noted in (theirs, theirs._replace(born="1"), theirs._replace(born="")):
            with locks.held(files.lock, wait=False) as lock:
                locks.sign(lock, noted)
                with pytest.raises(BadSetup, match=r"no bus server of yours.*fuser"):
                    embedded.stop(settings)
        with locks.held(files.lock, wait=False) as lock:
            locks.sign(lock, processes.known(os.getpid()))
            with pytest.raises(BadSetup, match=r"no bus server of yours.*fuser"):
                embedded.stop(settings)
        assert other.poll() is None
        other.stdin.close()


def test_a_server_of_an_earlier_version_which_noted_nothing_is_found_by_its_lock(settings, files):
    server = embedded.ensure(settings)
    files.lock.write_bytes(b"")

    assert embedded.holder(files).pid == server.pid
    assert embedded.stop(settings) is True
    until(lambda: is_gone(server.pid), "the server is gone")


@pytest.mark.parametrize("signed", [True, False])
def test_a_server_that_hangs_is_not_waited_for_as_one_that_starts(
    settings, files, monkeypatch, signed
):
    server = embedded.ensure(settings)
    noted = locks.holder(files.lock)
    files.lock.write_text(json.dumps(noted._replace(since=1.0)._asdict()) if signed else "")
    monkeypatch.setattr(embedded, "_STARTS_WITHIN_S", 0.05)
    monkeypatch.setattr(embedded, "_PROBE_TIMEOUT_S", 0.1)
    monkeypatch.setattr(embedded, "START_TIMEOUT_S", 60.0)
    halt(server.pid)

    began = time.monotonic()
    with pytest.raises(BusUnreachable, match=rf"pid {server.pid} .*does not answer.*server stop"):
        embedded.ensure(settings)
    assert time.monotonic() - began < 30


def test_a_dead_server_that_signed_the_lock_is_not_taken_for_who_holds_it(
    settings, files, monkeypatch
):
    """Whoever looks whether it is held has it for a moment, and a starter signs it after that."""
    files.root.mkdir(parents=True)
    with locks.held(files.lock, wait=False) as lock:
        locks.sign(lock, processes.known(os.getpid())._replace(network="another boot's", since=1.0))
    with files.lock.open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        monkeypatch.setattr(embedded.time, "sleep", lambda _: looking.close())
        assert embedded.ensure(settings).how == "started"
    embedded.stop(settings)
    with locks.held(files.lock, wait=False):
        assert locks.holder(files.lock) is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "no JSON", '{"pid": "1"}', "\0" * 9000, "[" * 9000]
)
def test_a_lock_that_holds_no_name_is_nobodys(settings, files, text):
    files.root.mkdir(parents=True)
    files.lock.write_text(text)

    assert locks.holder(files.lock) is None
    assert embedded.stop(settings) is False
    assert embedded.ensure(settings).how == "started"


def test_a_search_during_a_restart_names_no_dead_server(settings, files, monkeypatch):
    """It reads the old address; the next server is on the same port before it asks there."""
    dead = embedded.ensure(settings)
    kill(dead)
    restarted = []
    starting = files.lock.open("rb")
    fcntl.flock(starting, fcntl.LOCK_EX)
    real_answers = embedded._answers

    def late(url, token):
        monkeypatch.setattr(embedded, "_answers", real_answers)
        starting.close()
        restarted.append(embedded.ensure(settings))
        return real_answers(url, token)

    monkeypatch.setattr(embedded, "_answers", late)
    found = embedded.find(settings)

    assert restarted[0].url == dead.url
    assert found is None or found.pid == restarted[0].pid


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


@pytest.mark.parametrize("there", ["nothing", "empty", "full"])
def test_a_store_that_a_killed_restore_has_put_aside_is_the_servers_again(settings, files, there):
    aside = files.root / "store.before"
    aside.mkdir(parents=True)
    (aside / "mine").touch()
    if there != "nothing":
        files.store.mkdir()
    if there == "full":
        (files.store / "another").touch()

    embedded.ensure(settings)

    assert (files.store / "mine").exists() == (there != "full")
    assert aside.exists() == (there == "full")


def test_an_ephemeral_server_is_no_other_whatever_the_environment_says(temporary, monkeypatch):
    for key, name in IN_ENVIRON.items():
        monkeypatch.setenv(name, "nats://127.0.0.1:1" if key == "url" else "/nowhere")
    with embedded.ephemeral() as settings:
        assert {getattr(settings, key) for key in IN_ENVIRON} == {None}


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
    idle = script(tmp_path / "idle", "exec tail -f /dev/null -- $2")
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
