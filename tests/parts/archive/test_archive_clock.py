# SPDX-License-Identifier: Apache-2.0
"""By which clock an archive tells what has expired, and what a shell has left."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

from local_server import settings_at

from mcp_agentbus.archive import history
from mcp_agentbus.archive.catch_up import Extent
from mcp_agentbus.core import text

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


async def test_a_server_that_is_long_in_saying_the_time_has_no_other_clock(tmp_path, monkeypatch):
    clock = [NOON]

    async def said(_bus, _at):
        clock[0] += timedelta(seconds=4)
        return clock[0]

    async def caught_up(*_, **__):
        return Extent()

    monkeypatch.setattr(text, "now", lambda: clock[0])
    monkeypatch.setattr(history, "now_about", said)
    monkeypatch.setattr(history, "catch_up", caught_up)
    bus = SimpleNamespace(settings=settings_at(tmp_path / "bus"))
    async with history.up_to_date(bus, ["*"]) as current:
        assert current.archive.now() == clock[0]
