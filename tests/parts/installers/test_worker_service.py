# SPDX-License-Identifier: Apache-2.0
"""A worker as a service: what the files of systemd, launchd and supervisor hold, and what is left."""

import configparser
import os
import plistlib
import pwd
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
    assert "\nRestartPreventExitStatus=2\n" in text


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
    assert (found["stopwaitsecs"], found["user"]) == ("1830", pwd.getpwuid(os.getuid()).pw_name)
    with pytest.raises(BadSetup, match="both kinds of quotes"):
        section(kept("/bin/cat"), {"A": "\"'"})


@pytest.mark.parametrize(
    ("made", "given"),
    [
        (kept("/bin/cat", "fix #3"), {}),
        (kept("/bin/cat", folder=Path("/srv/a ;b")), {}),
        (kept("/bin/cat"), {"A": "b #c"}),
    ],
)
def test_what_begins_a_comment_for_supervisor_is_refused(made, given):
    with pytest.raises(BadSetup, match="in which a comment begins"):
        section(made, given)
    read = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
    read.read_string(section(kept("/bin/cat", "#3", "a;b#c"), {"A": "#b"}))

    found = dict(read["program:agentbus-work-coder"])
    assert shlex.split(found["command"])[-2:] == ["#3", "a;b#c"]
    assert found["environment"] == 'A="#b"'


def test_supervisor_is_told_who_it_is_and_not_what_a_variable_says_of_that(monkeypatch):
    monkeypatch.setenv("LOGNAME", "another")
    assert f"user={pwd.getpwuid(os.getuid()).pw_name}\n" in section(kept("/bin/cat"), {})

    monkeypatch.setattr("os.getuid", lambda: 4_000_000_000)  # as in a container
    assert "user=" not in section(kept("/bin/cat"), {})


@pytest.mark.parametrize("form", ["systemd", "launchd", "supervisor"])
def test_what_is_left_out_of_its_variables_is_said(tmp_path, form):
    path = "/bin:/caf\udce9"
    settings = settings_at(tmp_path, HOME=str(tmp_path), PATH=path, ANTHROPIC_API_KEY="zq9secret")
    told = "\n".join(install(kept("/bin/cat"), settings, form, Recorder()))

    assert "left out ANTHROPIC_API_KEY, as" in told
    assert "left out of PATH '/caf\\udce9', as" in told
    assert "zq9secret" not in told
    written = "".join((tmp_path / each).read_text() for each in left(tmp_path))
    assert "caf" not in written
    assert "/bin" in (written or told)


@pytest.mark.parametrize("make", [unit, plist, section])
@pytest.mark.parametrize(
    ("word", "said"), [("a\nExecStartPre=/bin/evil", "control character"), ("\udcff", "no UTF-8")]
)
def test_what_could_add_a_line_or_is_no_text_is_refused(make, word, said):
    with pytest.raises(BadSetup, match=said) as refused:
        make(kept("/x", "--instruction", word), {})
    assert refused.value.hint.startswith("Write it in one line. An instruction of several")
    with pytest.raises(BadSetup, match=said):
        make(kept("/x", folder=Path(f"/{word}")), {})


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
    code, told = await served.typed(tmp_path, *by_file, *supervised, HOME=str(tmp_path))
    assert code == 0
    assert "[program:agentbus-work-coder]\n" in told
    assert f"mcp_agentbus worker run --config {tmp_path}/w.toml\n" in told
    assert sys.executable in told
    code, told = await served.typed(tmp_path, *by_file, "--uninstall")
    assert (code, told.split(" ", 1)[1]) == (0, "is not installed\n")


async def test_one_whose_log_cannot_be_written_is_not_kept(tmp_path):
    (tmp_path / "agentbus-worker.log").mkdir()
    (tmp_path / "w.toml").write_text(
        f'[agent]\nid = "coder"\nchat_cmd = ["cat", "{{input}}"]\n[log]\ndir = "{tmp_path}"\n'
    )
    by_file = ("worker", "run", "--config", str(tmp_path / "w.toml"))

    code, told = await served.typed(tmp_path, *by_file, "--install", "supervisor")

    assert code == 1
    assert f"{tmp_path}/agentbus-worker.log cannot be written: it is a folder" in told


@pytest.mark.parametrize("more", [(), ("--install", "supervisor")])
async def test_a_file_whose_program_could_run_a_task_starts_nothing_and_is_uninstalled(
    tmp_path, more
):
    file = tmp_path / "w.toml"
    file.write_text('[agent]\nid = "coder"\nchat_cmd = ["cat", "prompt={input}"]\n')
    by_file = ("worker", "run", "--config", str(file))

    code, told = await served.typed(tmp_path, *by_file, *more)
    assert code == 2
    assert "has {input} within a script or another text" in told
    code, told = await served.typed(tmp_path, *by_file, "--uninstall")
    assert (code, told.split(" ", 1)[1]) == (0, "is not installed\n")
