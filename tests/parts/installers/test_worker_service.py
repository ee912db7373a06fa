# SPDX-License-Identifier: Apache-2.0
"""A worker as a service: what the files of systemd, launchd and supervisor hold, and what is left."""

import configparser
import getpass
import plistlib
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import served
from local_server import settings_at
from mcp_agentbus.installers import launchd, systemd, worker
from mcp_agentbus.installers.worker import Kept, install, plist, section, uninstall, unit
from test_units import Recorder, left

from mcp_agentbus.errors import BadSetup

ODD = 'a b%h $HOME "q" \\x'


def kept(*program, folder=Path("/srv/a b%")):
    return Kept("coder", ("work", "--agent", "coder", "--", *program), folder, 1800)


@pytest.fixture
def settings(tmp_path):
    return settings_at(tmp_path / "my bus", HOME=str(tmp_path))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_systemd_finds_no_fault_in_the_unit(tmp_path):
    file = tmp_path / "agentbus-work-coder.service"
    file.write_text(unit(kept("/bin/cat", ODD, folder=tmp_path), {"PATH": "/usr/bin:/a b/%n"}))

    ran = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(file)],
        capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
    )  # fmt: skip

    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_unit_quotes_what_was_typed_and_gives_a_task_its_time(monkeypatch):
    monkeypatch.setattr("sys.executable", "/a $b/python")  # of a program's own path no $ is read

    text = unit(kept("/bin/cat", ODD), {"A": "$b"})

    assert 'ExecStart="/a $b/python" ' in text
    assert '"--" "/bin/cat" "a b%%h $$HOME \\"q\\" \\\\x"\n' in text
    assert "WorkingDirectory=/srv/a b%%\n" in text
    assert 'Environment="A=$b"\n' in text
    assert "KillMode=process\nTimeoutStopSec=1830\n" in text


def test_the_plist_reads_back_as_it_was_meant():
    found = plistlib.loads(plist(kept("/bin/cat", ODD), {"A": ODD}))

    assert found["Label"] == "dev.agentbus.work.coder"
    assert found["ProgramArguments"][-4:] == ["coder", "--", "/bin/cat", ODD]
    assert found["EnvironmentVariables"] == {"A": ODD}
    assert (found["WorkingDirectory"], found["ExitTimeOut"]) == ("/srv/a b%", 1830)


def test_supervisors_section_reads_back_as_it_was_meant():
    read = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
    read.read_string(section(kept("/bin/cat", ODD), {"A": 'x "y" 5%', "B": "it's"}))

    found = dict(read["program:agentbus-work-coder"])
    assert shlex.split(found["command"] % {})[-3:] == ["--", "/bin/cat", ODD]
    assert found["environment"] % {} == 'A=\'x "y" 5%\',B="it\'s"'
    assert (found["stopwaitsecs"], found["user"]) == ("1830", getpass.getuser())
    with pytest.raises(BadSetup, match="both kinds of quotes"):
        section(kept("/bin/cat"), {"A": "\"'"})


@pytest.mark.parametrize("make", [unit, plist, section])
def test_what_could_add_a_line_is_refused(make):
    with pytest.raises(BadSetup, match="control character"):
        make(kept("/x\nExecStartPre=/bin/evil"), {})


@pytest.mark.parametrize("manager", [systemd, launchd])
def test_it_is_started_and_stopped_by_its_agents_name_and_nothing_is_left(
    settings, tmp_path, monkeypatch, manager
):
    monkeypatch.setattr(worker.service, "manager", lambda: manager)
    run = Recorder(f"{launchd._domain()}/dev.agentbus.work.coder")
    begins = (
        "started dev.agentbus.work.coder, now" if manager is launchd else "started agentbus-wor"
    )

    done = install(kept("/bin/cat"), settings, run=run)
    assert [line for line in done if line.startswith(begins)]
    [file] = left(tmp_path)
    text = (tmp_path / file).read_text()
    assert "coder" in file
    assert f"{tmp_path}/my bus" in text

    assert "removed" in uninstall("coder", settings, Recorder())[-1]
    assert left(tmp_path) == []
    assert "is not installed" in uninstall("coder", settings, Recorder())[0]


def test_without_a_service_manager_the_other_way_is_told(settings, tmp_path):
    with pytest.raises(BadSetup) as refused:
        install(kept("/bin/cat"), settings, "systemd", Recorder("show-environment"))

    assert refused.value.hint == (
        "Run `agentbus work --agent coder -- /bin/cat` by hand in a terminal, and keep that open."
    )
    assert left(tmp_path) == []


async def test_it_is_typed_as_any_other_worker(tmp_path):
    (tmp_path / "w.toml").write_text('[agent]\nid = "coder"\nchat_cmd = ["cat", "{input}"]\n')
    supervised = ("--install", "supervisor")

    code, told = await served.typed(
        tmp_path, "work", "--agent", "me", "--time-limit", "1h", *supervised, "--", "cat", "-u"
    )
    assert code == 0
    assert f"work --agent me --jobs 1 --time-limit 3600 -- {shutil.which('cat')} -u\n" in told
    assert "stopwaitsecs=3630\n" in told
    assert f'AGENTBUS_HOME="{tmp_path}"' in told

    by_file = ("worker", "run", "--config", str(tmp_path / "w.toml"))
    code, told = await served.typed(tmp_path, *by_file, *supervised)
    assert code == 0
    assert "[program:agentbus-work-coder]\n" in told
    assert f"mcp_agentbus worker run --config {tmp_path}/w.toml\n" in told
    assert sys.executable in told
    code, told = await served.typed(tmp_path, *by_file, "--uninstall")
    assert (code, told.split(" ", 1)[1]) == (0, "is not installed\n")
