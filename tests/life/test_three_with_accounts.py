# SPDX-License-Identifier: Apache-2.0
"""Accounts on three servers: each goes by who has joined, by a door of its own."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from made_cluster import made_cluster, until

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.login.account import LOBBY
from mcp_agentbus.bus.login.nkey import Nkey, new_seed
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.core.aio import part
from mcp_agentbus.shared.accounts import owner, store
from mcp_agentbus.shared.accounts.apply import hosts
from mcp_agentbus.shared.accounts.doorkeeper import keep_door
from mcp_agentbus.shared.accounts.lobby import asked_for
from mcp_agentbus.shared.membership.invitation import decode
from mcp_agentbus.store import streams


@asynccontextmanager
async def door(folder):
    """Keep a server's door, as the gate beside it does."""
    keeping = part(keep_door(folder))
    try:
        yield
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping


async def join(three, line):
    """Ask one of the lobbies until it answers."""
    said, key = decode(line), Nkey(new_seed())
    proof = key.signed(asked_for(said.id, key.public)).decode()
    request = {"v": 1, "id": said.id, "secret": said.secret, "key": key.public, "proof": proof}
    seed = str(three.folder(three.names[0]) / "lobby.nk")
    environ = {**three.settings.environ, "AGENTBUS_NKEY_FILE": seed}
    async with Bus.connect(load_settings(environ)) as outside:
        return json.loads((await outside.request(LOBBY, json.dumps(request).encode(), 20)).data)


async def let_in(three, name):
    """Return the servers that let an account in, of those that answer."""
    async with hosts(three.folder(three.names[0])) as servers:
        return {called for called, each in servers.items() if each and await each.lets_in(name)}


async def test_who_joins_by_one_is_in_by_each_and_who_goes_is_out_of_each(tmp_path):
    with made_cluster(tmp_path, start=2) as three:
        first, second, third = three.names
        async with AsyncExitStack() as stack:
            for name in (first, second):
                await stack.enter_async_context(door(three.folder(name)))
            bus = await stack.enter_async_context(Bus(three.settings))

            async def replicas():
                names = (*streams.STREAMS, store.STREAM)
                infos = [await bus.api(f"STREAM.INFO.{name}") for name in names]
                return {info["config"]["num_replicas"] for info in infos}

            await until(replicas)  # two of three have made the streams
            three.start(third)
            await stack.enter_async_context(door(three.folder(third)))
            invited = await owner.invite(bus, three.folder(second), "laptop")
            answer = await join(three, invited.line)

            async def is_in_by_all():
                return await let_in(three, "laptop") == set(three.names)

            async def is_spread():
                return await replicas() == {3}

            await until(is_in_by_all)
            await until(is_spread)
            removed = await owner.remove(bus, three.folder(first), "laptop")
            gone = await let_in(three, "laptop")
            back = await owner.readmit(bus, three.folder(first), "laptop")
            await until(is_in_by_all)
            three.kill(third)
            without_one = await owner.remove(bus, three.folder(first), "laptop")
            three.start(third)

            async def is_out():
                return not await let_in(three, "laptop")

            await until(is_out)

    assert answer == {"ok": True, "account": "laptop"}
    assert (removed.still_in, gone, back.state) == ((), set(), "joined")
    assert without_one.still_in == (third,)
