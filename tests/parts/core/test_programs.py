# SPDX-License-Identifier: Apache-2.0
"""Another program, run to its end: what it gets, what comes back, what ends it; and who renews us."""

import os
import shlex
import subprocess
import sys

import pytest
from local_server import script

from mcp_agentbus.core import programs

_LONG_S = 30.0  # only a hang takes as long


def python(code, **options):
    return programs.run([sys.executable, "-c", code], **{"timeout_s": _LONG_S, **options})


def test_what_it_prints_comes_back_whatever_its_bytes():
    code = "import sys; sys.stdout.buffer.write(b'caf\\xe9'); sys.stderr.write('why'); sys.exit(3)"

    ended = python(code)

    assert (ended.returncode, ended.stdout, ended.stderr) == (
        3,
        "caf\N{REPLACEMENT CHARACTER}",
        "why",
    )


def test_it_reads_what_it_is_given_and_nothing_of_the_terminal():
    assert python("print(input())", stdin="a line\n").stdout == "a line\n"
    assert python("import sys; print(sys.stdin.isatty(), sys.stdin.read())").stdout == "False \n"


def test_it_has_the_environment_and_the_folder_that_were_given(tmp_path):
    code = "import os; print(os.getcwd(), os.environ.get('COLOUR'), os.environ.get('HOME'))"

    ended = python(code, environ={"COLOUR": "red"}, folder=str(tmp_path))

    assert ended.stdout.split() == [str(tmp_path), "red", "None"]


@pytest.mark.parametrize("relative", ["", ".", "bin"])
def test_it_is_none_that_a_project_has_put_where_path_leads_from_there(
    relative, tmp_path, monkeypatch
):
    (tmp_path / "bin").mkdir()
    for folder in (tmp_path, tmp_path / "bin"):
        script(folder / "sh", "echo the project's")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{relative}:{os.environ['PATH']}")

    ended = programs.run(["sh", "-c", "sh -c 'echo ours'"], timeout_s=_LONG_S)

    assert ended.stdout == "ours\n"


def test_one_that_does_not_end_is_ended():
    with pytest.raises(subprocess.TimeoutExpired):
        python("import signal; signal.pause()", timeout_s=0.2)


def test_one_that_is_not_there_is_told_from_one_that_failed(tmp_path):
    with pytest.raises(FileNotFoundError):
        programs.run([tmp_path / "missing"], timeout_s=_LONG_S)


@pytest.mark.parametrize(
    ("file", "lines"),
    [
        (
            "uv-receipt.toml",
            ("uv tool upgrade mcp-agentbus", "uv tool upgrade --reinstall mcp-agentbus",
             "uv tool install 'mcp-agentbus[apprise]'"),
        ),
        (
            "pipx_metadata.json",
            ("pipx upgrade mcp-agentbus", "pipx reinstall mcp-agentbus",
             "pipx install --force 'mcp-agentbus[apprise]'"),
        ),
    ],
)  # fmt: skip
def test_what_made_an_environment_of_its_own_renews_it(file, lines, tmp_path, monkeypatch):
    """The pip of a shell would bring it into another Python."""
    (tmp_path / file).touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))

    assert (
        programs.install_line("upgrade"),
        programs.install_line("again"),
        programs.install_line("add", "apprise"),
    ) == lines


def test_elsewhere_the_python_that_runs_it_does(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/opt/my venv/bin/python")

    pip = ["/opt/my venv/bin/python", "-m", "pip", "install"]
    assert [
        shlex.split(said)
        for said in (
            programs.install_line("upgrade"),
            programs.install_line("again"),
            programs.install_line("add", "x"),
        )
    ] == [
        [*pip, "--upgrade", "mcp-agentbus"],
        [*pip, "--force-reinstall", "mcp-agentbus"],
        [*pip, "mcp-agentbus[x]"],
    ]
