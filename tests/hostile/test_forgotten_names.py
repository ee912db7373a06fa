# SPDX-License-Identifier: Apache-2.0
"""Who takes a name that another account had reads nothing of what that has left on the bus."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
from gated import gated

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.config import names
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import NameTaken, NotAllowed
from mcp_agentbus.handoff import lookup
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import roster
from mcp_agentbus.store.registered import forgotten
from mcp_agentbus.store.subjects import RESULTS
from mcp_agentbus.tools.forget import forget
from mcp_agentbus.tools.rename import rename

SECRET = "TOP SECRET"


async def _done(sender, worker):
    """Have a task be sent and done; return its id."""
    [sent] = await send_task(sender, worker.me.id, "Salaries", SECRET)
    await read_inbox(worker)
    await publish_result(worker, sent.task_id, "completed", summary=SECRET)
    await read_inbox(sender)
    return sent.task_id


async def _forget(bus, admin):
    await forget(bus, "coder")


async def _rename(bus, admin):
    await rename(bus, "coder", "smith")


async def _by_owner(bus, admin):
    await forget(admin, "coder")


@pytest.mark.promise(51)
@pytest.mark.parametrize("free", [_forget, _rename, _by_owner])
@pytest.mark.asyncio(loop_scope="function")
async def test_a_name_stays_its_account_s_until_nothing_of_its_agent_is_left(tmp_path, free):
    async with gated(tmp_path, laptop=[], vps=[], mallory=[]) as shared, AsyncExitStack() as stack:
        laptop, vps, mallory = [
            await stack.enter_async_context(Bus.connect(shared.settings(name)))
            for name in ("laptop", "vps", "mallory")
        ]
        admin = await stack.enter_async_context(Bus.connect(shared.admin))
        planner = await stack.enter_async_context(Session(laptop, Agent("planner")))
        async with Session(vps, Agent("coder")) as coder:
            for each in (planner, coder):
                await each.called()
            tasks = [await _done(planner, coder), await _done(coder, planner)]

        await free(vps, admin)

        assert "coder" not in {entry.id for entry in await roster.everybody(mallory)}
        with pytest.raises(NameTaken):
            await roster.register(mallory, Agent("coder"), None)
        await roster.register(mallory, Agent("eve"), None)
        with pytest.raises(NameTaken):
            await rename(mallory, "eve", "coder")
        assert not names.read(mallory.settings).became("eve", "coder")  # so it can be called yet
        with pytest.raises(NotAllowed):
            [page async for page in mallory.stored(RESULTS, "agentbus.coder.>")]
        everywhere = mallory.stored(RESULTS, "agentbus.*.*.coder.*")
        assert [page async for page in everywhere if page] == []
        again = await stack.enter_async_context(Session(vps, Agent("coder")))
        await again.called()
        for task in tasks:
            assert (await lookup.task_life(again, task)).state == "completed"
        await again.close()

        await free(vps, admin)
        await admin.api(f"STREAM.PURGE.{RESULTS}")
        stored = await admin.last("AGENTBUS_AGENTS", "agentbus.coder.profile")
        assert await forgotten.free(admin, "coder", stored.seq)
        await roster.register(mallory, Agent("coder"), None)
