# SPDX-License-Identifier: Apache-2.0
"""A shell in which commands that look back are typed."""

from types import SimpleNamespace

import pytest
from trails import PLANNER, Shell

from mcp_agentbus.archive.file import Archive
from mcp_agentbus.config.settings import Keeps
from mcp_agentbus.store.own_name import Naming
from mcp_agentbus.tools import history


@pytest.fixture
def shell(tmp_path, monkeypatch):
    async def look(*_):
        return SimpleNamespace(me=PLANNER)

    with Archive(tmp_path / "archive.db", Keeps()) as archive:
        shell = Shell(tmp_path / "bus", archive)
        monkeypatch.setattr(Naming, "look", look)
        monkeypatch.setattr(history.streams, "ensure_streams", shell.ensured)
        monkeypatch.setattr(history, "outgoing_of", shell.outgoing)
        monkeypatch.setattr(history, "as_held", shell.held)
        monkeypatch.setattr(history, "up_to_date", shell.up_to_date)
        monkeypatch.setattr(history, "news", shell.news)
        yield shell
