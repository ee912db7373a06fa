# SPDX-License-Identifier: Apache-2.0
"""What waits on this user's own server for a shared bus, over a restore of that server."""

from __future__ import annotations

from dataclasses import replace

import pytest
from backups import backed_up, restored
from planners_task import TASK

from mcp_agentbus.bus import embedded
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.store.outbox.outbox import Outbox, lying
from mcp_agentbus.store.outbox.own import own_server


@pytest.mark.parametrize("kept", [0, 3])
async def test_what_waits_here_for_a_shared_bus_stays_where_ones_own_is_restored(
    settings, tmp_path, kept
):
    shared = replace(settings, url="tls://bus.example.org", account="laptop")
    settings.state_dir.mkdir(parents=True, mode=0o700, exist_ok=True)
    outbox = Outbox(shared)
    for number in range(kept):
        await outbox.put(TASK.model_copy(update={"id": f"t{number}"}), Agent("planner"))
    before = await outbox.waits()
    await outbox.close()
    await backed_up(settings, tmp_path / "backup")

    await restored(settings, tmp_path / "backup", replace=True)

    assert await lying(shared) == before
    assert len(before) == kept
    embedded.stop(own_server(shared))
