# SPDX-License-Identifier: Apache-2.0
"""A bus belongs to the loop and the process that use it first: elsewhere it says so at once."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from test_opened_again import Link

from mcp_agentbus.bus.own.home import Home
from mcp_agentbus.bus.reconnect import Reconnecting
from mcp_agentbus.errors import BadSetup

ELSEWHERE = "belongs to another event loop or process. Nothing was stored"


@pytest.fixture
def bus(settings):
    bus = Reconnecting(settings)
    bus._link = Link()
    return bus


async def _used(bus):
    await bus.send("a.b", b"", {})


async def test_in_another_thread_a_bus_says_whose_it_is_and_leaves_its_connection_alone(bus):
    await _used(bus)

    with ThreadPoolExecutor(1) as thread:
        with pytest.raises(BadSetup, match=ELSEWHERE) as refused:
            await asyncio.get_running_loop().run_in_executor(thread, asyncio.run, _used(bus))
        await asyncio.get_running_loop().run_in_executor(thread, asyncio.run, bus.close())

    assert refused.value.hint == "Open a Bus and a Session in each."
    assert bus._link.asked == [("send", "a.b", b"", {})]


async def test_so_it_does_in_a_forked_child(bus, monkeypatch):
    await _used(bus)
    monkeypatch.setattr(os, "getpid", lambda: -1)

    with pytest.raises(BadSetup, match=ELSEWHERE):
        await _used(bus)
    await bus.close()

    assert bus._link.asked == [("send", "a.b", b"", {})]


def test_after_the_end_of_its_loop_it_connects_anew_in_the_next(bus, monkeypatch):
    first, later = bus._link, Link()
    asyncio.run(_used(bus))

    async def opened(*, may_start):
        bus._link = later
        return later

    monkeypatch.setattr(bus, "_open", opened)
    for _ in range(2):
        asyncio.run(_used(bus))

    assert first.asked == [("send", "a.b", b"", {})]
    assert later.asked == [("send", "a.b", b"", {})] * 2


async def test_where_it_is_used_first_it_is_at_home():
    home = Home()

    assert (home.is_here, home.moves(), home.moves(), home.is_here) == (True, False, False, True)
