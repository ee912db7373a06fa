# SPDX-License-Identifier: Apache-2.0
"""The listener as a service: what the files of systemd and launchd hold, and what is left."""

import plistlib
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from local_server import settings_at
from mcp_agentbus.installers import launchd, server, service, systemd
from mcp_agentbus.installers._parts import files
from mcp_agentbus.installers._parts.service import run_program

from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.errors import BadSetup
from mcp_agentbus.relay import starter

ODD = 'a b%h $HOME "q" \\x'


class Recorder:
    """Runs nothing; notes each call and fails those that have one of the given words."""

    def __init__(self, *failing: str) -> None:
        self.calls: list[str] = []
        self.failing = failing

    def __call__(self, argv):
        self.calls.append(" ".join(argv))
        failed = any(word in argv for word in self.failing)
        return subprocess.CompletedProcess(argv, int(failed), "", "No medium found" * failed)


def missing(argv):
    raise FileNotFoundError(2, "No such file or directory", argv[0])


def hanging(argv):
    raise subprocess.TimeoutExpired(argv, 120)


@pytest.fixture
def settings(tmp_path):
    return settings_at(tmp_path / "my bus", HOME=str(tmp_path))


def left(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
@pytest.mark.parametrize("home", [None, "/home/me/bus", f"/home/{ODD}"])
def test_systemd_finds_no_fault_in_the_unit(tmp_path, home):
    python = tmp_path / "a b%h c" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    file = tmp_path / systemd.UNIT
    file.write_text(systemd.unit(python, home, "/usr/bin:/a b/%n"))

    ran = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
    )

    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
@pytest.mark.parametrize("by_root", [True, False])
def test_systemd_finds_no_fault_in_the_units_of_a_shared_server(tmp_path, by_root):
    program = tmp_path / "a b%h $c" / "nats-server"
    program.parent.mkdir()
    program.symlink_to(sys.executable)
    texts = server.units(program, tmp_path / "a b%h $c" / "nats.conf", by_root=by_root)
    files = [tmp_path / f"agentbus-{name}.service" for name in ("server", "gate")]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)

    ran = subprocess.run(
        ["systemd-analyze", *(["--user"] * (not by_root)), "verify", "--man=no", *files],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    assert '$$c/nats.conf"' in texts[0]
    assert "\nEnvironment=GOMEMLIMIT=1GiB\nMemoryMax=75%\n" in texts[0]
    assert '$$c"\n' in texts[1]
    assert all(("ReadWritePaths=" in text) is by_root for text in texts)


def test_the_unit_quotes_by_systemds_rules():
    text = systemd.unit(Path("/a b%/python"), f"/{ODD}")

    assert 'ExecStart="/a b%%/python" -E -P -m mcp_agentbus listen --replace\n' in text
    assert 'Environment="AGENTBUS_HOME=/a b%%h $HOME \\"q\\" \\\\x"\n' in text


def test_the_unit_names_a_home_only_if_there_is_one():
    assert "Environment" not in systemd.unit(Path("/python"), None)


@pytest.mark.parametrize("make", [systemd.unit, launchd.plist])
def test_a_path_that_could_add_a_line_is_refused(make):
    with pytest.raises(BadSetup, match="control character"):
        make(Path("/python"), "/x\nExecStartPre=/bin/evil")


def environment(manager, settings):
    """Return the variables that a manager's file sets."""
    if manager is launchd:
        found = plistlib.loads(launchd.plist_file(settings.environ).read_bytes())
        return found["EnvironmentVariables"]
    lines = systemd.unit_file(settings.environ).read_text().splitlines()
    words = [line.removeprefix("Environment=")[1:-1] for line in lines if "Environment" in line]
    return dict(word.split("=", 1) for word in words)


@pytest.mark.parametrize("manager", [systemd, launchd])
def test_the_listener_is_started_on_the_folders_and_the_bus_of_its_user(
    tmp_path, monkeypatch, manager
):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))  # no config.toml of this machine is read
    leads = {
        "XDG_CONFIG_HOME": f"{tmp_path}/conf",
        "XDG_DATA_HOME": f"{tmp_path}/data",
        "XDG_RUNTIME_DIR": str(tmp_path),
        "AGENTBUS_URL": "tls://bus.example.org:4222",
        "AGENTBUS_TOKEN_FILE": f"{tmp_path}/token",
    }
    usual = {"HOME": str(tmp_path), "XDG_STATE_HOME": f"{tmp_path}/.local/state/", "PATH": "/bin"}
    if sys.platform == "darwin":
        usual.pop("XDG_STATE_HOME")
    settings = load_settings({**leads, **usual, "XDG_DATA_DIRS": "/usr", "AGENTBUS_AGENT": "me"})

    manager.install(settings, Recorder(f"{launchd._domain()}/{launchd.LABEL}"))

    assert environment(manager, settings) == {**leads, "PATH": "/bin"}


@pytest.mark.parametrize("manager", [systemd, launchd])
def test_the_service_has_what_its_hosts_need_and_secrets_are_named_and_left_out(tmp_path, manager):
    usual = {"HOME": str(tmp_path), "PATH": "/bin", "AGENTBUS_HOME": str(tmp_path / "bus")}
    needed = {"NVM_DIR": "/nvm", "HTTPS_PROXY": "http://p:1", "CLAUDE_CONFIG_DIR": "/c"}
    around = {**usual, **needed, "ANTHROPIC_API_KEY": "zq9secret", "GITHUB_TOKEN": "zq9secret"}
    settings = load_settings(around)

    done = manager.install(settings, Recorder(f"{launchd._domain()}/{launchd.LABEL}"))

    bus = {"AGENTBUS_HOME": str(tmp_path / "bus"), "PATH": "/bin"}
    assert environment(manager, settings) == {**bus, **needed}
    assert [line for line in done if line.startswith("left out ANTHROPIC_API_KEY, as")]
    # Another shell has other proxies; that is no reason to write it anew.
    assert manager.is_current(load_settings({**usual, "HTTPS_PROXY": "http://q:2"}))
    assert not manager.is_current(load_settings({**usual, "AGENTBUS_HOME": str(tmp_path / "b")}))


@pytest.mark.parametrize(
    ("manager", "failing"), [(systemd, "enable"), (systemd, "restart"), (launchd, "bootstrap")]
)
@pytest.mark.parametrize("old", [b"old", None])
def test_a_service_that_does_not_start_leaves_all_as_it_was(settings, manager, failing, old):
    file = (systemd.unit_file if manager is systemd else launchd.plist_file)(settings.environ)
    run = Recorder(failing, f"{launchd._domain()}/{launchd.LABEL}")
    if old is None:
        run.failing = (*run.failing, "enable")  # nothing is restarted that was not there
    else:
        files.write(file, old)

    with pytest.raises(BadSetup, match="No medium found"):
        manager.install(settings, run)

    assert (file.read_bytes() if file.exists() else None) == old
    if manager is systemd:
        assert "systemctl --user daemon-reload" in run.calls[-2:]


@pytest.mark.parametrize("manager", [systemd, launchd])
def test_what_would_be_done_is_what_is_done_and_nobody_is_told_to_do_it(settings, manager):
    planning, doing = Recorder(), Recorder(f"{launchd._domain()}/{launchd.LABEL}")
    file = (systemd.unit_file if manager is systemd else launchd.plist_file)(settings.environ)

    wrote, run = manager.plan(settings, planning)

    assert (wrote, file.exists(), len(planning.calls)) == (f"write {file}", False, 1)
    assert f"wrote {file}" in manager.install(settings, doing)
    assert planning.calls[0] == doing.calls[0]
    assert run.removeprefix("run ") in doing.calls


@pytest.mark.parametrize("manager", [systemd, launchd])
def test_a_file_that_names_another_python_is_not_current(settings, monkeypatch, manager):
    assert not manager.is_current(settings)
    manager.install(settings, Recorder(f"{launchd._domain()}/{launchd.LABEL}"))
    assert manager.is_current(settings)
    elsewhere = {**settings.environ, "PATH": "/another/shell's"}
    assert manager.is_current(replace(settings, environ=elsewhere))

    monkeypatch.setattr("sys.executable", "/moved/bin/python")

    assert not manager.is_current(settings)


def test_a_plist_that_is_none_is_not_current(settings):
    files.write(launchd.plist_file(settings.environ), b"<plist")

    assert not launchd.is_current(settings)


def test_systemd_starts_it_and_the_same_again_changes_nothing(settings):
    run = Recorder()
    file = systemd.unit_file(settings.environ)

    systemd.install(settings, run)
    first = file.read_bytes()
    done = systemd.install(settings, run)

    assert file.read_bytes() == first
    assert file.stat().st_mode & 0o777 == 0o644
    assert run.calls[:3] == [
        "systemctl --user show-environment",
        "systemctl --user daemon-reload",
        f"systemctl --user enable --now {systemd.UNIT}",
    ]
    assert run.calls[3:] == run.calls[:3]
    assert str(file) in done[0]
    assert left(file.parent) == [systemd.UNIT]


def test_a_unit_that_has_changed_is_started_anew(settings):
    run = Recorder()
    file = systemd.unit_file(settings.environ)
    file.parent.mkdir(parents=True)
    file.write_text("old")

    systemd.install(settings, run)

    assert run.calls[-1] == f"systemctl --user restart {systemd.UNIT}"


@pytest.mark.parametrize("run", [Recorder("show-environment"), missing, hanging])
def test_without_systemd_nothing_is_written_and_the_other_way_is_told(settings, tmp_path, run):
    with pytest.raises(BadSetup, match="Run `agentbus listen` by hand"):
        systemd.install(settings, run)
    assert left(tmp_path) == []


@pytest.mark.parametrize("run", [Recorder(), Recorder("disable"), missing])
def test_nothing_of_the_unit_is_left(settings, tmp_path, run):
    systemd.install(settings, Recorder())
    link = systemd.unit_file(settings.environ).parent / "default.target.wants" / systemd.UNIT
    link.parent.mkdir()
    link.symlink_to(systemd.unit_file(settings.environ))

    systemd.uninstall(settings, run)

    assert left(tmp_path) == []
    assert not link.parent.exists()
    assert systemd.uninstall(settings, run) == [f"{systemd.UNIT} is not installed"]


def test_the_units_folder_is_where_the_user_has_it(tmp_path):
    settings = settings_at(tmp_path, XDG_CONFIG_HOME="/conf", HOME="/home/me")

    assert systemd.unit_file(settings.environ) == Path("/conf/systemd/user") / systemd.UNIT


@pytest.mark.parametrize("home", [None, f"/home/{ODD}<&>"])
def test_the_plist_reads_back_as_it_was_meant(home):
    found = plistlib.loads(launchd.plist(Path(f"/{ODD}"), home))

    assert found["Label"] == "dev.agentbus.listen"
    assert found["ProgramArguments"][0] == f"/{ODD}"
    assert found["ProgramArguments"][1:] == [
        "-E",
        "-P",
        "-m",
        "mcp_agentbus",
        "listen",
        "--replace",
    ]
    assert found.get("EnvironmentVariables") == (home and {"AGENTBUS_HOME": home})
    assert found["Umask"] == 0o077


def test_launchd_starts_it_and_the_same_again_changes_nothing(settings):
    file = launchd.plist_file(settings.environ)
    label = f"{launchd._domain()}/{launchd.LABEL}"
    fresh, again = Recorder(label), Recorder()

    launchd.install(settings, fresh)
    first = file.read_bytes()
    launchd.install(settings, again)

    assert file.read_bytes() == first
    assert fresh.calls[-1] == f"launchctl bootstrap {launchd._domain()} {file}"
    assert all(call.startswith("launchctl print ") for call in again.calls)


def test_a_plist_that_has_changed_is_loaded_anew(settings):
    run = Recorder()
    files.write(launchd.plist_file(settings.environ), b"old")

    launchd.install(settings, run)

    assert [call.split()[1] for call in run.calls[-2:]] == ["bootout", "bootstrap"]


@pytest.mark.parametrize("run", [Recorder("print"), missing, hanging])
def test_without_launchd_nothing_is_written_and_the_other_way_is_told(settings, tmp_path, run):
    with pytest.raises(BadSetup, match="Run `agentbus listen` by hand"):
        launchd.install(settings, run)
    assert left(tmp_path) == []


@pytest.mark.parametrize("run", [Recorder(), Recorder("bootout"), missing])
def test_nothing_of_the_plist_is_left(settings, tmp_path, run):
    launchd.install(settings, Recorder())

    launchd.uninstall(settings, run)

    assert left(tmp_path) == []
    assert launchd.uninstall(settings, run) == [f"{launchd.LABEL} is not installed"]


def test_a_real_program_is_run_to_its_end():
    ended = run_program([sys.executable, "-c", "print(input())"])

    assert ended.returncode == 1  # its standard input is empty
    assert "EOFError" in ended.stderr


@pytest.mark.parametrize("manager", [systemd, launchd])
def test_a_session_starts_no_listener_where_a_service_keeps_one(settings, monkeypatch, manager):
    started = []
    monkeypatch.setattr(starter.sys, "platform", {systemd: "linux", launchd: "darwin"}[manager])
    monkeypatch.setattr("subprocess.Popen", lambda argv, **_: started.append(argv))
    manager.install(settings, Recorder())
    elsewhere = replace(settings, environ={**settings.environ, "AGENTBUS_HOME": "/elsewhere"})

    starter.start_listener(settings)
    assert started == []
    starter.start_listener(elsewhere)
    manager.uninstall(settings, Recorder())
    starter.start_listener(settings)
    assert len(started) == 2


def test_a_home_with_odd_letters_is_read_back_from_the_unit(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    settings = settings_at(tmp_path / ODD, HOME=str(tmp_path))
    systemd.install(settings, Recorder())

    assert starter.keeps(settings.environ)
    assert not starter.keeps({**settings.environ, "AGENTBUS_HOME": f"/{ODD}"})


def test_a_service_keeps_no_listener_on_another_socket(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    environ = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/bin"}
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    systemd.install(load_settings(environ), Recorder())

    assert starter.keeps(environ)
    assert not starter.keeps({**environ, "XDG_RUNTIME_DIR": "/"})
    assert not starter.keeps({**environ, "AGENTBUS_HOME": str(tmp_path)})


@pytest.mark.parametrize("content", [b"", b"<plist", b"<plist><dict>", b"[Unit]\n", b"\xff"])
def test_a_plist_that_cannot_be_read_keeps_none(settings, monkeypatch, content):
    monkeypatch.setattr("sys.platform", "darwin")
    files.write(launchd.plist_file(settings.environ), content)

    assert not starter.keeps(settings.environ)


@pytest.mark.parametrize(
    ("platform", "name", "log", "restart"),
    [
        ("linux", "systemd", f"journalctl --user -u {starter.UNIT}", "systemctl --user restart"),
        ("darwin", "launchd", "", "launchctl kickstart -k"),
    ],
)
def test_each_system_has_its_manager(monkeypatch, platform, name, log, restart):
    monkeypatch.setattr("sys.platform", platform)
    manager = service.manager()

    assert (name, log) == (manager.NAME, manager.LOG)
    assert " ".join(manager.restart()).startswith(restart)
