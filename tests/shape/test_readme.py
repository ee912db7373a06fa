# SPDX-License-Identifier: Apache-2.0
"""README is true: its generated parts are fresh, its example runs, its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import renew_readme

from mcp_agentbus import __version__

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_generated_parts_are_fresh():
    run = "run: python tests/shape/renew_readme.py"
    assert renew_readme.renewed(README) == README, run
    assert renew_readme.every_command() == renew_readme.CLI.read_text(), run


def test_the_python_example_does_what_it_says():
    code = re.search(r"<!-- example: python -->\n```python\n(.*?)```", README, re.DOTALL)[1]

    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert ran.stdout == "three\n"
    assert ran.stderr == ""


def test_every_link_into_the_repository_leads_somewhere():
    for page in (ROOT / "README.md", *(ROOT / ".github").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).resolve().exists(), f"{page.name}: {target}"


def test_the_changelog_speaks_of_this_version():
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_version_has_one_source():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())

    assert project["project"]["dynamic"] == ["version"]
    assert "mcp_agentbus.version.__version__" in str(project["tool"]["setuptools"]["dynamic"])
