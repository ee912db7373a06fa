# SPDX-License-Identifier: Apache-2.0
"""How this installation is renewed: by what has made it, which a file of that in it tells."""

import shlex
import sys

import pytest

from mcp_agentbus.core.installed import line


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

    assert (line("upgrade"), line("again"), line("add", "apprise")) == lines


def test_elsewhere_the_python_that_runs_it_does(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/opt/my venv/bin/python")

    pip = ["/opt/my venv/bin/python", "-m", "pip", "install"]
    assert [shlex.split(said) for said in (line("upgrade"), line("again"), line("add", "x"))] == [
        [*pip, "--upgrade", "mcp-agentbus"],
        [*pip, "--force-reinstall", "mcp-agentbus"],
        [*pip, "mcp-agentbus[x]"],
    ]
