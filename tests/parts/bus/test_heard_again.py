# SPDX-License-Identifier: Apache-2.0
"""What is subscribed to is heard on each new connection: once, by the same, and told of the gap."""

import asyncio
from contextlib import AsyncExitStack

from local_server import kill_servers

from mcp_agentbus.bus import embedded

SUBJECT = "agentbus-events.planner.build"


class Heard:
    """What one subscription was told: the messages, and None where its connection ended."""

    def __init__(self):
        self.told = []

    def __call__(self, message):
        self.told.append(message and message.data)


async def restarted(bus):
    """Kill the bus's server, and wait for a connection to the next."""
    kill_servers(bus.settings)
    await asyncio.to_thread(embedded.ensure, bus.settings)
    assert await bus.reconnected(20)


async def say(bus, *bodies):
    """Have the server hand these out, and wait until it has: its answer comes behind them."""
    for body in bodies:
        await bus.send(SUBJECT, body, {}, taken=True)
    await bus.api("INFO")


async def test_after_each_lost_connection_each_is_told_and_hears_each_message_once(own_world):
    bus = own_world.bus
    every, members, ended, away = Heard(), [Heard(), Heard()], Heard(), Heard()
    numbers = [b"%d" % number for number in range(20)]
    async with AsyncExitStack() as stack, AsyncExitStack() as short, AsyncExitStack() as early:
        await stack.enter_async_context(bus.subscribed(SUBJECT, every))
        for member in members:
            await stack.enter_async_context(bus.subscribed(SUBJECT, member, group="workers"))
        await short.enter_async_context(bus.subscribed(SUBJECT, ended))
        await early.enter_async_context(bus.subscribed(SUBJECT, away))
        await say(bus, b"before")
        await restarted(bus)
        await say(bus, b"between")
        await short.aclose()
        await say(bus, b"later")
        kill_servers(bus.settings)
        await early.aclose()  # while there is no connection
        await restarted(bus)
        await say(bus, *numbers)

    assert every.told == [b"before", None, b"between", b"later", None, *numbers]
    assert [member.told.count(None) for member in members] == [2, 2]
    assert sorted(body for member in members for body in member.told if body) == sorted(
        [b"before", b"between", b"later", *numbers]
    )
    assert ended.told == [b"before", None, b"between"]
    heard = [*ended.told, b"later"]
    assert away.told in (heard, [*heard, None])


async def test_a_connection_on_which_not_all_is_heard_again_is_none(own_world, monkeypatch):
    bus = own_world.bus
    heard, fails = Heard(), iter([True])
    link = type(bus._link)
    flush = link.flush

    async def deaf_once(self, timeout):
        if next(fails, False):
            raise TimeoutError
        await flush(self, timeout)

    async with bus.subscribed(SUBJECT, heard):
        monkeypatch.setattr(link, "flush", deaf_once)
        await restarted(bus)
        await say(bus, b"after")

    assert heard.told == [None, b"after"]
