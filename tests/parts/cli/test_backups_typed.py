# SPDX-License-Identifier: Apache-2.0
"""What `agentbus server restore` says of what was there before, and how that comes back."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from mcp_agentbus.cli.parser import parser
from mcp_agentbus.cli.servers import backups
from mcp_agentbus.core import text
from mcp_agentbus.shared.restore import Replaced

COMMAND = "agentbus server restore --replace"
THEN = f"then {COMMAND} FOLDER"


@pytest.mark.parametrize("server", [None, "/srv/my bus"])
@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("", f"What was there before: {COMMAND} '/b/of today'"),
        (
            "node-a",
            f"What was there before is on node-a, in '/b/of today': copy that folder here, {THEN}",
        ),
    ],
)
async def test_what_was_there_before_comes_back_by_what_is_said(
    settings, tmp_path, monkeypatch, capsys, *, server, host, said
):
    async def restore(*_, **__):
        yield Replaced(Path("/b/of today"), 2, host)

    async def holds(_):
        return {}

    kept = SimpleNamespace(taken_at=text.now(), folder=tmp_path)
    monkeypatch.setattr(backups.backups, "find", lambda _: kept)
    monkeypatch.setattr(backups.folders, "whole_bus", lambda *_: settings)
    monkeypatch.setattr(backups.restoring, "restore", restore)
    monkeypatch.setattr(backups.restoring, "holds", holds)
    typed = ["server", "restore", "/b", *(("--dir", server) if server else ())]

    assert await backups._restore(parser().parse_args(typed), settings) == 0
    of = " --dir '/srv/my bus'" if server else ""
    assert capsys.readouterr().out.rstrip("\n").endswith(f"told. {said}{of}")

    await backups._restore(parser().parse_args([*typed, "--json"]), settings)
    [before] = json.loads(capsys.readouterr().out)["before"]
    assert before == {"backup": "/b/of today", "host": host or None, "told": 2}
