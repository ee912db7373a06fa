# SPDX-License-Identifier: Apache-2.0
"""What these tests share: a folder for an embedded server, a host that is a stand-in."""

from __future__ import annotations

import contextlib
import os
import sys
import types

import pytest
from local_server import server_folder

from mcp_agentbus.bus import embedded
from mcp_agentbus.core import hosts
from mcp_agentbus.core.children import group
from mcp_agentbus.core.hosts import Host


@pytest.fixture
def settings(tmp_path):
    with server_folder(tmp_path / "home") as settings:
        yield settings


@pytest.fixture
def files(settings):
    return embedded.Files(settings.data_dir)


@pytest.fixture
def installer(monkeypatch):
    """A host's installer that does as its fields say."""
    module = types.ModuleType("mcp_agentbus.installers.stand_in")
    module.found = lambda _: "Host 1.0, /usr/bin/host"
    module.verify = lambda _: "it listed five tools"
    module.uninstall = lambda _: []
    module.gone = lambda _: ""
    monkeypatch.setitem(sys.modules, module.__name__, module)
    row = Host("stand-in", installer="stand_in")
    monkeypatch.setattr(hosts, "HOSTS", (*hosts.HOSTS, row))
    return module


@pytest.fixture
def not_ours(monkeypatch):
    """Have programs be another user's, as those of sudo are; yield those that were refused."""
    refused = []

    def refuse(pid, number):
        refused.append(pid)
        raise PermissionError(1, os.strerror(1))

    monkeypatch.setattr(os, "killpg", refuse)
    for seconds in ("GRACE_S", "_REAPED_WITHIN_S"):
        monkeypatch.setattr(group, seconds, 0.01)
    yield refused
    for pid in {*refused}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
