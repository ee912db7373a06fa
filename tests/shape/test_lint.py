# SPDX-License-Identifier: Apache-2.0
"""Lint, format and types, so that one command checks everything."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import installs
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "tool",
    [("ruff", "check"), ("ruff", "format", "--check")],
    ids=" ".join,
)
def test_the_tree_is_clean(tool):
    ran = _run(*tool, cwd=ROOT)

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_no_two_files_of_tests_have_one_name():
    """Of two that one process collects, pytest takes the first for both."""
    names = Counter(file.name for file in (ROOT / "tests").rglob("test_*.py"))

    assert [name for name, count in names.items() if count > 1] == []


def test_types_hold_in_the_package_as_it_is_installed(tmp_path):
    package = tmp_path / "mcp_agentbus"
    package.mkdir()
    for part in (*(ROOT / "mcp_agentbus").iterdir(), ROOT / "installers"):
        (package / part.name).symlink_to(part)

    # And so do they for whoever uses it: the examples of the page are strictly typed.
    page = (ROOT / "docs/python.md").read_text()
    for name, code in re.findall(r"<!-- example: (\w+) -->\n```python\n(.*?)```", page, re.DOTALL):
        (tmp_path / f"{name}_example.py").write_text(code)

    # What it has seen of files that have not changed since the last run, it keeps.
    kept = ("--cache-dir", installs.cache() / "mypy")
    ran = _run(
        *("mypy", "--config-file", ROOT / "pyproject.toml", *kept, "-p", package.name),
        *(word for file in sorted(tmp_path.glob("*_example.py")) for word in ("-m", file.stem)),
        cwd=tmp_path,
    )

    assert (package / "py.typed").exists()
    assert ran.returncode == 0, ran.stdout + ran.stderr


def _run(*tool, cwd):
    return subprocess.run(
        [sys.executable, "-m", *tool],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
