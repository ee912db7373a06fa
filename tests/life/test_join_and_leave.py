# SPDX-License-Identifier: Apache-2.0
"""To join a shared server and to leave it: a real server, its lobby and its gate."""

import json
import re
from contextlib import AsyncExitStack

import pytest
from gated import gate_of
from local_server import settings_at
from made_server import made_server

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.aio import part
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import NotAllowed, Refused
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.shared.accounts import owner, store
from mcp_agentbus.shared.accounts.doorkeeper import keep_door
from mcp_agentbus.shared.membership.invitation import decode
from mcp_agentbus.shared.membership.join import join
from mcp_agentbus.shared.membership.leave import leave
from mcp_agentbus.store import subjects

_WITHIN_S = 10


@pytest.fixture
async def joins(tmp_path):
    """Runs a shared server; has a machine join it, and gives its settings."""
    with made_server(tmp_path / "bus") as server:
        folder = server.files.folder
        async with AsyncExitStack() as stack:
            bus = await stack.enter_async_context(Bus.connect(server.owner))
            await store.ensure(bus)
            await stack.enter_async_context(gate_of(server.owner))
            door = part(keep_door(folder))
            stack.callback(door.cancel)

            async def joined(name):
                line = decode((await owner.invite(bus, folder, name)).line)
                return (await join(settings_at(tmp_path / name), line)).settings

            joined.bus, joined.folder = bus, folder
            yield joined


async def test_what_waits_for_an_account_that_leaves_comes_back_if_it_says_so(joins):
    laptop, vps = await joins("laptop"), await joins("vps")
    async with Bus(vps) as there, Session(there, Agent("planner")) as planner:
        async with Bus(laptop) as here, Session(here, Agent("coder")) as coder:
            await coder.called()
            await coder.can_read()
        [receipt] = await send_task(planner, "coder", "Build it", "All of it.")

        left = await leave(laptop, give_back=True)
        assert (left.told, left.why_not, left.settings.account) == (True, "", None)
        came = await watch_inbox(planner, task_id=receipt.task_id, timeout_s=_WITHIN_S)
        [result] = came.results
        assert (result.task_id, result.state) == (receipt.task_id, "rejected")

        record, _ = await store.account(joins.bus, "laptop")
        assert record.state == "removed"
        async with Bus(laptop) as here:
            with pytest.raises((NotAllowed, Refused)):
                await here.api("INFO")

        # The same account again, and a task goes to the agent that it had.
        again = await joins("laptop")
        await send_task(planner, "coder", "Once more", "b")
        async with Bus(again) as here, Session(here, Agent("coder")) as coder:
            assert [item.task.subject for item in (await read_inbox(coder)).tasks] == ["Once more"]


@pytest.mark.promise(50)
async def test_nobody_makes_another_account_leave(joins):
    laptop, vps = await joins("laptop"), await joins("vps")
    for subject in ("agentbus-gate.laptop.leave", "laptop.leave", "leave.laptop"):
        async with Bus(vps) as there:
            with pytest.raises(Refused):
                await there.request(subject, json.dumps({"give_back": True}).encode(), 2)
    assert (await leave(vps, give_back=False)).told
    async with Bus(laptop) as here:
        assert await here.api("INFO")
    text = laptop.config_file.read_text()
    assert re.search('account = "laptop"', text)


async def test_who_has_its_key_is_any_agent_of_an_account(joins):
    laptop = await joins("laptop")
    async with (
        Bus(laptop) as here,
        Session(here, Agent("planner")) as planner,
        Session(here, Agent("planner")) as another,
        Session(here, Agent("coder")) as coder,
    ):
        await read_inbox(planner)
        await send_task(coder, "planner", "For the first", "x")
        assert [each.task.subject for each in (await read_inbox(another)).tasks] == [
            "For the first"
        ]


async def test_its_owner_reads_all_that_is_on_a_server(joins):
    laptop = await joins("laptop")
    async with Bus(laptop) as here, Session(here, Agent("planner")) as planner:
        await read_inbox(planner)
        await send_task(planner, "planner", "Mine", "For nobody else.")
        place = subjects.task_subject("planner", "normal", "planner")
        kept = await joins.bus.last(subjects.TASKS, place)
    assert kept is not None
    assert b"For nobody else." in kept.data


async def test_what_is_open_goes_on_by_another_key_once_there_is_one(joins):
    laptop = await joins("laptop")
    async with Bus(laptop) as kept_open:
        await kept_open.api("INFO")
        line = decode((await owner.rotate(joins.bus, joins.folder, "laptop")).line)
        joined = await join(laptop, line)
        assert joined.was_joined
        assert joined.settings.nkey_file != laptop.nkey_file
        assert await kept_open.api("INFO")
