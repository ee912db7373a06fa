# SPDX-License-Identifier: Apache-2.0
"""Three servers with a gate each: what one has just stored, the others go by."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

from made_cluster import made_cluster, until

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.login.nkey import Nkey, new_seed
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.core import text
from mcp_agentbus.core.aio import part, together
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.gate.gate import Gate
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.shared.accounts import admin, store
from mcp_agentbus.shared.accounts.apply import hosts
from mcp_agentbus.shared.accounts.doorkeeper import keep_door
from mcp_agentbus.shared.accounts.record import AccountRecord

_PAIRS = 6
_HANG_S = 30


@asynccontextmanager
async def gate(folder):
    """Run a gate with its door, as `agentbus server gate` does."""
    stop, running = asyncio.Event(), Gate(admin.settings(folder))
    tasks = [part(running.run(stop)), part(keep_door(folder))]
    try:
        yield
    finally:
        stop.set()
        tasks[1].cancel()
        await asyncio.wait(tasks)


def account(three, name, at, tmp_path):
    """Return a new account's key, and the settings of its machine, which uses one of the three."""
    seed, file = new_seed(), tmp_path / f"{name}.nk"
    file.touch(mode=0o600)
    file.write_text(seed)
    own = admin.settings(three.folder(at)).environ
    changed = {
        "AGENTBUS_HOME": str(tmp_path / name), "AGENTBUS_NKEY_FILE": str(file),
        "AGENTBUS_ACCOUNT": name,
    }  # fmt: skip
    return Nkey(seed).public, load_settings({**own, **changed})


async def handed_over(laptop, pi, number):
    """Have two agents that nobody knew before work together at once; return what came."""
    async with (
        Session(laptop, Agent(f"planner-{number}")) as planner,
        Session(pi, Agent(f"coder-{number}")) as coder,
    ):
        await read_inbox(coder)
        watching = part(watch_inbox(coder, timeout_s=_HANG_S))
        [receipt] = await send_task(planner, f"coder-{number}", "Count", "all")
        [item] = (await watching).tasks
        return item.task.id == receipt.task_id


async def test_agents_of_two_servers_work_together_from_their_first_call_on(tmp_path):
    with made_cluster(tmp_path) as three:
        await three.ready()
        first, second, _ = three.names
        async with AsyncExitStack() as stack:
            owner = await stack.enter_async_context(Bus(three.settings))
            await store.ensure(owner)
            for name in three.names:
                await stack.enter_async_context(gate(three.folder(name)))
            buses = []
            for name, at in (("laptop", first), ("pi", second)):
                now = text.now()
                key, settings = account(three, name, at, tmp_path)
                record = AccountRecord(name=name, key=key, joined_at=now, since=now)
                await store.put(owner, record, 0)
                buses.append(await stack.enter_async_context(Bus(settings)))

            async def is_in():
                async with hosts(three.folder(first)) as servers:
                    return all([each and await each.hears("pi") for each in servers.values()])

            async def is_answered():
                return await together(*(bus.api("STREAM.INFO.AGENTBUS_TASKS") for bus in buses))

            await until(is_in)
            await until(is_answered)
            came = [await handed_over(*buses, number) for number in range(_PAIRS)]

    assert came == [True] * _PAIRS
