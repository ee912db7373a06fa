# SPDX-License-Identifier: Apache-2.0
"""Who is told, after a restore, that what was sent since the backup is gone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mcp_agentbus.core import text
from mcp_agentbus.shared.replacement.since import LostTask, tell
from mcp_agentbus.store import streams
from mcp_agentbus.store.records import read_record, write_sent
from mcp_agentbus.store.task import Sent


@pytest.mark.parametrize(
    ("inbox", "unasked", "told"),
    [
        ("coder", False, 0),
        ("shop", False, 0),  # whoever has the task there was renamed since
        ("shop", True, 1),  # another's of that id, whose result was only seen
        ("", False, 1),
    ],
)
async def test_a_task_is_said_to_be_gone_that_the_backup_has_in_no_inbox(
    world, inbox, unasked, told
):
    await streams.ensure_streams(world.bus)
    at, owner = text.now(), world.name("planner")
    times = {"created_at": at, "expires_at": at + timedelta(days=1)}
    sent = Sent(task_id="9d0c", owner=owner, inbox="coder", **times)
    if inbox:
        kept = {"inbox": inbox, "unasked": unasked}
        await write_sent(world.bus, sent.model_copy(update=kept), 0)

    assert await tell(world.bus, [LostTask(sent, None)] * 2) == told

    record, _ = await read_record(world.bus, owner, "*", sent.task_id)
    assert (record and (record.inbox, record.state)) == (("coder", "failed") if told else None)
