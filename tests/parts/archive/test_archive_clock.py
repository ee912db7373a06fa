# SPDX-License-Identifier: Apache-2.0
"""By which clock an archive tells what has expired, and what a shell has left."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

from local_server import settings_at

from mcp_agentbus.archive import history
from mcp_agentbus.archive.catch_up import Extent
from mcp_agentbus.archive.past import as_held, unlisted
from mcp_agentbus.core import text
from mcp_agentbus.core.ids import SHELL_PREFIX
from mcp_agentbus.store.queries import clock as server_clock
from mcp_agentbus.store.task import CLAIM_MAX_S, Task

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


async def test_what_a_shell_holds_for_seconds_yet_is_not_left_beside_what_one_left_days_ago(
    monkeypatch,
):
    """A time that is days away need not be judged by the server's clock; the other one must."""
    bus = type("Bus", (), {"connections": 1})()
    behind = timedelta(seconds=-30)
    monkeypatch.setattr(text, "now", lambda: NOON)
    told = server_clock._Told(bus.connections, behind, NOON, time.monotonic())
    monkeypatch.setitem(server_clock._told, bus, told)

    def held(ends):
        task = Task(
            id="t1", sender="planner", to="coder", subject="", body="", priority="normal",
            thread_id="", created_at=NOON, expires_at=NOON + timedelta(days=7),
        )  # fmt: skip
        updated_at = ends - timedelta(seconds=CLAIM_MAX_S)
        return replace(
            unlisted(task), state="claimed", agent="coder", session=f"{SHELL_PREFIX}1",
            updated_at=updated_at,
        )  # fmt: skip

    tasks = await as_held(bus, [held(NOON - timedelta(days=3)), held(NOON - timedelta(seconds=10))])

    assert [task.is_left for task in tasks] == [True, False]
