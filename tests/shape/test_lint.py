# SPDX-License-Identifier: Apache-2.0
"""Lint, format and types, so that one command checks everything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


def test_types_hold_in_the_package_as_it_is_installed(tmp_path):
    package = tmp_path / "mcp_agentbus"
    package.mkdir()
    for part in (*(ROOT / "mcp_agentbus").iterdir(), ROOT / "installers"):
        (package / part.name).symlink_to(part)

    ran = _run("mypy", "--config-file", ROOT / "pyproject.toml", "-p", package.name, cwd=tmp_path)

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
