# SPDX-License-Identifier: Apache-2.0
"""What these tests share: a server that an installer tries is forked, if it is this tree's."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import forking
import pytest
from mcp_agentbus.installers._parts import probe


def _tried(argv, **options):
    program = Path(argv[0])
    ours = program.is_file() and program.read_bytes().startswith(f"#!{sys.executable}\n".encode())
    with forking.on():
        return forking.start([sys.executable, *argv] if ours else argv, **options)


@pytest.fixture(autouse=True)
def forked_probes(request, monkeypatch):
    """Have what is tried be forked, where that it starts is no matter of the test."""
    if not request.node.get_closest_marker("started"):
        has = SimpleNamespace(**vars(subprocess) | {"Popen": _tried})
        monkeypatch.setattr(probe, "subprocess", has)
