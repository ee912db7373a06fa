# SPDX-License-Identifier: Apache-2.0
"""In a project whose files are named as what agentbus imports, nothing of the project is run."""

import json
import os
import subprocess
import sysconfig
import venv

import package_copy
import pytest
from local_server import server_folder, settings_at
from trap import Trap

from mcp_agentbus.bus import embedded
from mcp_agentbus.core import programs

# As pip writes the command.
COMMAND = "import sys\nfrom mcp_agentbus.__main__ import main\nsys.exit(main())\n"
_WITHIN_S = 120  # only a hang takes as long


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """A Python in which agentbus is installed, and which imports nothing as it begins."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True)
    [site] = (folder / "lib").glob("*/site-packages")
    package_copy.copy(site)
    (site / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def command(python):
    """The command `agentbus` of that one, as it stands on PATH."""
    file = python.with_name("agentbus")
    file.write_text(f"#!{python}\n{COMMAND}")
    file.chmod(0o755)
    return file


@pytest.fixture(autouse=True)
def bus(tmp_path):
    """The folder of a bus, whose server ends with the test."""
    with server_folder(tmp_path / "bus"):
        yield


def ran(project, argv, **environ):
    """Run a program in the project, and see that nothing there was run; return what it printed."""
    done = subprocess.run(
        argv,
        cwd=project.folder,
        env={
            "PATH": os.environ["PATH"],
            "AGENTBUS_NATS_SERVER": str(embedded.binary(settings_at(project.folder))),
            "AGENTBUS_HOME": str(project.folder.parent / "bus"),
            "AGENTBUS_LISTENER": "off",
            **environ,
        },
        capture_output=True,
        text=True,
        timeout=_WITHIN_S,
        check=False,
    )
    assert (done.returncode, project.sprung()) == (0, []), done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", [(), ("--wake",)], ids=["of a task", "of a wake"])
def test_a_demo_runs_agentbus_and_no_folder_of_its_name(command, tmp_path, kind):
    project = Trap(tmp_path / "project")

    assert json.loads(ran(project, [command, "demo", *kind, "--json"]))["timeline"]


@pytest.mark.parametrize(
    "given", ["{}", "{}:/elsewhere", ":/elsewhere"], ids=["it", "it first", "here"]
)
def test_a_command_takes_nothing_that_is_exported(command, tmp_path, given):
    project = Trap(tmp_path / "project", ours=False)
    exported = given.format(project.folder)

    assert "agents" in ran(project, [command, "agents", "--json"], PYTHONPATH=exported)


def test_a_command_that_is_typed_takes_a_package_of_our_name_that_is_exported(command, tmp_path):
    """By nothing in it can that be helped: it is what Python finds. Hosts and units do without."""
    project = Trap(tmp_path / "project")

    subprocess.run([command, "--version"], env={"PYTHONPATH": str(project.folder)}, check=False)

    assert "mcp_agentbus" in project.sprung()


def test_a_module_that_is_run_takes_nothing_of_its_folder(python, tmp_path):
    project = Trap(tmp_path / "project", ours=False)

    assert "agents" in ran(project, [python, "-m", "mcp_agentbus", "agents", "--json"])


def test_what_agentbus_starts_is_agentbus_wherever_and_whatever_is_exported(python, tmp_path):
    project = Trap(tmp_path / "project")
    argv = programs.ourselves("--version", python=str(python))

    assert ran(project, argv, PYTHONPATH=str(project.folder)).startswith("agentbus ")


def test_where_agentbus_is_found_by_what_is_exported_that_is_kept(monkeypatch):
    apart = programs.ourselves()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/elsewhere", programs.OWN]))
    found = programs.ourselves()

    assert (apart[1:], found[1:]) == (
        ["-E", "-P", "-m", "mcp_agentbus"],
        ["-P", "-m", "mcp_agentbus"],
    )
    environ = dict(os.environ)
    assert programs.without_project(environ) == environ
    assert programs.without_project({"PYTHONPATH": "/project", "LANG": "C"}) == {"LANG": "C"}
