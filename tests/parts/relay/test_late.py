# SPDX-License-Identifier: Apache-2.0
"""What is loaded late is there, of one version, also where an upgrade has its files missing."""

from __future__ import annotations

import sys
from importlib.machinery import SourceFileLoader

import pytest

from mcp_agentbus.relay import late


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of which a file is missing, and of which nothing stays loaded."""
    folder = tmp_path / "upgraded"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "version.py").write_text("VERSION = 1\n")
    (folder / "one.py").write_text("from upgraded.version import VERSION\nimport upgraded.two\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield folder
    for name in [name for name in sys.modules if name.startswith("upgraded")]:
        del sys.modules[name]


def _then(monkeypatch, do):
    """Have something happen while it waits for what is missing."""
    monkeypatch.setattr(late.time, "sleep", lambda _: do())


def test_a_file_that_is_missing_for_a_moment_is_waited_for(package, monkeypatch):
    _then(monkeypatch, (package / "two.py").touch)

    late.load("upgraded.one")

    assert {"upgraded.one", "upgraded.two"} <= sys.modules.keys()


def test_what_was_loaded_before_the_missing_one_is_of_the_same_version(package, monkeypatch):
    def upgrade():
        (package / "version.py").write_text("VERSION = 22\n")
        (package / "two.py").touch()

    _then(monkeypatch, upgrade)
    late.load("upgraded.one")

    assert sys.modules["upgraded.one"].VERSION == 22


@pytest.mark.parametrize(
    "half",
    [
        "def half(",
        "import upgraded\nupgraded.whole()\n",
        "class Half(int, str): pass\n",
        "raise RuntimeError('of two versions')\n",
    ],
)
def test_a_half_written_file_is_waited_for(package, monkeypatch, half):
    (package / "two.py").write_text(half)
    _then(monkeypatch, lambda: (package / "two.py").write_text("WHOLE = True\n"))

    late.load("upgraded.one")

    assert sys.modules["upgraded.two"].WHOLE


def test_a_file_that_goes_between_the_look_for_it_and_its_reading_is_waited_for(
    package, monkeypatch
):
    two = package / "two.py"
    two.touch()

    def gone(loader, path):
        if path == str(two):
            two.unlink()
        return read(loader, path)

    read = SourceFileLoader.get_data
    monkeypatch.setattr(SourceFileLoader, "get_data", gone)

    def upgrade():
        monkeypatch.setattr(SourceFileLoader, "get_data", read)
        two.touch()

    _then(monkeypatch, upgrade)

    late.load("upgraded.two")

    assert "upgraded.two" in sys.modules


def test_it_is_waited_for_though_loading_has_taken_longer_before_it_was_missed(
    package, monkeypatch
):
    (package / "one.py").write_text(
        "from mcp_agentbus.relay import late\n"
        "now = late.time.monotonic()\n"
        "late.time.monotonic = lambda: now + late._MISSING_MAX_S + 1\n"
        "import upgraded.two\n"
    )
    monkeypatch.setattr(late.time, "monotonic", late.time.monotonic)
    _then(monkeypatch, (package / "two.py").touch)

    late.load("upgraded.one")

    assert "upgraded.two" in sys.modules


def test_what_stays_missing_is_said(package, monkeypatch):
    monkeypatch.setattr(late, "_MISSING_MAX_S", 0)

    with pytest.raises(ImportError, match=r"upgraded\.two"):
        late.load("upgraded.one")


def test_what_was_loaded_of_another_version_is_loaded_anew(package):
    (package / "version.py").write_text('__version__ = "1"\n')
    (package / "two.py").write_text("from upgraded.version import __version__\n")
    (package / "one.py").write_text("from upgraded.two import __version__\n")
    late.load("upgraded.two")
    late.load("upgraded.two")
    before = sys.modules["upgraded.two"]
    (package / "version.py").write_text('__version__ = "22"\n')

    late.load("upgraded.one")

    assert (before.__version__, sys.modules["upgraded.one"].__version__) == ("1", "22")


def test_what_was_loaded_before_does_not_keep_out_what_fits_what_is_loaded(package, monkeypatch):
    """Though the version says nothing of that, as where a repository is the package."""
    late.load("upgraded.version")
    (package / "one.py").write_text("from upgraded.version import NEWER\n")
    (package / "version.py").write_text("NEWER = True\n")
    _then(monkeypatch, lambda: None)

    late.load("upgraded.one")

    assert sys.modules["upgraded.one"].NEWER


def test_what_was_loaded_before_one_that_stays_missing_is_there_still(package, monkeypatch):
    monkeypatch.setattr(late, "_MISSING_MAX_S", 0)
    late.load("upgraded.version")
    before = sys.modules["upgraded.version"]

    with pytest.raises(ImportError):
        late.load("upgraded.one")

    assert sys.modules["upgraded.version"] is before
