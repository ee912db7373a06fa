# SPDX-License-Identifier: Apache-2.0
"""A bus of several servers: one that is of no use is left for another, and what is wrong is said."""

import asyncio
import time
from dataclasses import replace

import pytest
from clusters import NAMES, cluster
from local_server import until

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BusUnreachable, Unconfirmed
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import roster, streams

PROMISED_S = 5
# Until a cluster of three has chosen its leaders it takes as long as one election, or two.
ELECTED_WITHIN_S = 30


async def until_it_works(call):
    """Call until there is an answer."""
    async with asyncio.timeout(ELECTED_WITHIN_S):
        while True:
            began = time.monotonic()
            try:
                return await call()
            except (BusUnreachable, Unconfirmed):
                pass
            finally:
                assert time.monotonic() - began < PROMISED_S


async def test_a_server_that_has_lost_sight_of_the_others_is_left_for_one_that_has_not(tmp_path):
    with cluster(tmp_path) as three:
        async with Bus(three.settings) as bus:
            await until_it_works(lambda: bus.api("INFO"))
        three.kill("c")
        three.start("c", alone=True)
        first = [three.url(name) for name in ("c", "a", "b")]
        async with Bus(replace(three.settings, url=",".join(first))) as bus:
            with pytest.raises(BusUnreachable, match="have no leader just now"):
                await bus.api("INFO")
            await until_it_works(lambda: bus.api("INFO"))


async def test_what_no_server_of_a_list_answers_is_said_of_each_and_one_that_does_is_used(tmp_path):
    with cluster(tmp_path, names=("a",)) as three:
        dead = [three.url("b"), three.url("c")]
        async with Bus(replace(three.settings, url=",".join([*dead, three.url("a")]))) as bus:
            began = time.monotonic()
            with pytest.raises(BusUnreachable, match="have no leader just now"):  # it is alone
                await bus.api("INFO")
            assert time.monotonic() - began < PROMISED_S
        async with Bus(replace(three.settings, url=",".join(dead))) as bus:
            with pytest.raises(BusUnreachable) as nobody:
                await bus.api("INFO")

    refused = [f"No server answers at {url.removeprefix('nats://')}: Connection" for url in dead]
    assert all(each in nobody.value.message for each in refused)
    assert nobody.value.message.count("Nothing was stored") == 1


async def test_after_all_servers_were_restarted_no_session_counts_as_gone_that_lives(
    tmp_path, monkeypatch
):
    """They have the stream of signs of life as it was made long ago, and nothing in it."""
    monkeypatch.setattr(streams, "PRESENCE_S", lasts_s := 8)
    monkeypatch.setattr(roster, "BEAT_S", 3)
    with cluster(tmp_path) as three:
        async with Bus(three.settings) as bus, Session(bus, Agent("coder")) as coder:
            await until_it_works(coder.called)
            over = time.monotonic() + lasts_s
            await asyncio.to_thread(until, lambda: time.monotonic() > over, "its signs are old")
            three.kill(*NAMES)
            three.start(*NAMES)

            live = frozenset()
            while coder.id not in live:
                assert await until_it_works(lambda: roster.may_live(bus, "coder", coder.id))
                live = await until_it_works(lambda: roster.live_sessions(bus, "coder"))
