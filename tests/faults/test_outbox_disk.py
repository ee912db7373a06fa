# SPDX-License-Identifier: Apache-2.0
"""The outbox on a disk that is full for a moment, and has room again."""

from dataclasses import replace

import pytest
from local_server import server_folder
from planners_task import TASK
from test_disk_full import fill

from mcp_agentbus.bus import embedded
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import StoreFull
from mcp_agentbus.store.outbox.outbox import Outbox
from mcp_agentbus.store.outbox.own import own_server


async def taken_out(outbox):
    for each in await outbox.waits():
        await outbox.take_out(each)


async def test_what_a_full_disk_has_kept_there_is_taken_out_once_it_has_room(small_disk):
    with server_folder(small_disk / "home") as settings:
        shared = replace(settings, url="tls://bus.example.org", account="laptop")
        outbox = Outbox(shared)
        for number in range(3):
            await outbox.put(TASK.model_copy(update={"id": f"t{number}"}), Agent("planner"))
        pid = embedded.find(settings).pid
        ballast = small_disk / "ballast"
        fill(ballast)
        with pytest.raises(StoreFull, match="This machine's disk is full"):
            await taken_out(outbox)
        left = await outbox.waits()

        ballast.unlink()
        await taken_out(outbox)
        assert (len(left), await outbox.waits()) == (3, ())
        assert embedded.find(settings).pid != pid
        await outbox.close()
        embedded.stop(own_server(shared))
