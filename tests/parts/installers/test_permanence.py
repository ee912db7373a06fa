# SPDX-License-Identifier: Apache-2.0
"""Where an installation may be gone tomorrow, whoever sets up hosts from there is told so."""

import json
import subprocess
import sysconfig
import venv
from pathlib import Path

import package_copy
import pytest
from mcp_agentbus.installers._parts import permanence

from mcp_agentbus.core import programs

ARCHIVE = ".cache/uv/archive-v0/Fy-YX5v6WKt_RMo9"


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """A machine's folders below one, where nothing is temporary but what a test says."""
    monkeypatch.setattr(permanence, "_TEMPORARY", (str(tmp_path / "tmp"),))
    for name in permanence._VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def installed(disk, monkeypatch):
    """Installs into a venv in that folder, which uv has made; returns it."""

    def into(place):
        prefix = disk / place
        own = prefix / "lib" / "python3.13" / "site-packages"
        own.mkdir(parents=True)
        (prefix / "CACHEDIR.TAG").touch()
        (prefix / "pyvenv.cfg").touch()
        monkeypatch.setattr("sys.prefix", str(prefix))
        monkeypatch.setattr(programs, "OWN", str(own))
        return str(prefix)

    return into


@pytest.mark.parametrize(
    "place", [ARCHIVE, ".cache/pipx/004ea595269884e", ".local/pipx/.cache/e8f", "Library/Caches/uv/x",
              "tmp/venv"],
)  # fmt: skip
def test_caches_and_temporary_folders_are_emptied(installed, place):
    assert installed(place) == permanence.emptied()


def test_a_cache_in_another_folder_is_told_by_its_tag(disk, installed):
    (disk / "build").mkdir()
    (disk / "build" / "CACHEDIR.TAG").touch()

    assert installed("build/archive-v0/x") == permanence.emptied()


@pytest.mark.parametrize("name", ["TMPDIR", "XDG_RUNTIME_DIR"])
def test_what_a_variable_names_is_temporary(disk, installed, monkeypatch, name):
    prefix = installed("scratch/venv")
    assert permanence.emptied() == ""

    monkeypatch.setenv(name, str(disk / "scratch"))
    assert permanence.emptied() == prefix


def test_a_lasting_environment_with_its_package_elsewhere_does_not_make_that_last(
    disk, installed, monkeypatch
):
    installed("venv")
    monkeypatch.setattr(programs, "OWN", str(disk / ".shiv" / "agentbus_1" / "site-packages"))
    Path(programs.OWN).mkdir(parents=True)

    assert permanence.emptied() == programs.OWN


def test_a_program_in_a_single_file_is_none_that_a_host_can_start(disk, installed, monkeypatch):
    installed("venv")
    (disk / "agentbus.pyz").touch()
    monkeypatch.setattr(programs, "OWN", str(disk / "agentbus.pyz"))

    assert permanence.emptied() == str(disk / "agentbus.pyz")


@pytest.mark.parametrize(
    "place",
    [".local/share/uv/tools/mcp-agentbus", ".local/share/pipx/venvs/mcp-agentbus", "project/.venv"],
)
def test_what_was_installed_to_stay_is_not_emptied(installed, place):
    installed(place)

    assert permanence.emptied() == ""


@pytest.fixture
def cached(tmp_path):
    """A venv in uv's cache, which has this agentbus; returns its Python."""
    folder = tmp_path / ARCHIVE
    venv.create(folder, symlinks=True)
    [site] = (folder / "lib").glob("*/site-packages")
    package_copy.copy(site)
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin" / "python"


@pytest.mark.parametrize(
    ("argv", "is_json"),
    [
        ("setup --host cursor --dry-run", False),
        ("setup --host cursor --dry-run --json", True),
        ("install cursor --dry-run", False),
        ("install cursor --dry-run --json", True),
        ("install --print", True),
        ("listen --install", False),
        ("work --agent coder --install supervisor -- /bin/cat", False),
        ("work --agent coder --install supervisor --json -- /bin/cat", True),
        ("server init --shared --dry-run --name bus.example.org", False),
        ("server init --shared --dry-run --name bus.example.org --json", True),
    ],
)
def test_whoever_sets_up_from_a_cache_is_told_and_how_to_install_it_to_stay(
    cached, tmp_path, argv, is_json
):
    (tmp_path / ".cursor").mkdir()
    ran = subprocess.run(
        [cached, "-m", "mcp_agentbus", *argv.split()],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": "/gone", "AGENTBUS_NATS_SERVER": "/bin/cat"},
        capture_output=True,
        text=True,
        check=False,
    )

    told = ran.stdout + ran.stderr
    assert f"runs from {cached.parents[1]}, which may be emptied" in told
    assert "uv tool install mcp-agentbus" in told
    if is_json:
        json.loads(ran.stdout)
