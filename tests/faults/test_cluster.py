# SPDX-License-Identifier: Apache-2.0
"""A bus of three servers: an election is waited out or named, and no task is lost or doubled by it."""

import asyncio
import time
from dataclasses import replace

import pytest
from clusters import NAMES, cluster

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.errors import BusUnreachable, Unconfirmed
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import streams
from mcp_agentbus.store.subjects import TASKS

PROMISED_S = 5
# Until a cluster of three has chosen its leaders it takes as long as one election, or two.
ELECTED_WITHIN_S = 30
TRUE_WORDS = ("have no leader just now", "went away", "is stored, but not", "No server answers")


async def until_it_works(call):
    """Call until there is an answer; return it, and what was said before."""
    said = []
    async with asyncio.timeout(ELECTED_WITHIN_S):
        while True:
            began = time.monotonic()
            try:
                answer = await call()
            except (BusUnreachable, Unconfirmed) as error:
                said.append(error.message)
            else:
                return answer, said
            finally:
                assert time.monotonic() - began < PROMISED_S


async def replicated(bus):
    """Have the streams stand on all three, as the owner of a cluster does."""
    for name in streams.STREAMS:
        config = (await bus.api(f"STREAM.INFO.{name}"))["config"]
        await bus.api(f"STREAM.UPDATE.{name}", {**config, "num_replicas": 3})
    await until_it_works(lambda: caught_up(bus))


async def caught_up(bus):
    others = (await placed(bus)).get("replicas") or [{}]  # none while a leader is looked for
    if not all(each.get("current") for each in others):
        raise BusUnreachable("Some are behind.")


async def placed(bus):
    return (await bus.api(f"STREAM.INFO.{TASKS}"))["cluster"]


async def test_the_leader_is_killed_under_writes_and_what_is_stored_is_there_once(tmp_path):
    with cluster(tmp_path) as three:
        async with (
            Bus(three.settings) as bus,
            Session(bus, Agent("planner")) as planner,
            Session(bus, Agent("coder")) as coder,
        ):
            await until_it_works(lambda: streams.ensure_streams(bus))
            await replicated(bus)
            await until_it_works(lambda: read_inbox(coder))
            sent, said = [], []
            leader = (await placed(bus))["leader"]
            for number in range(40):
                if number == 15:
                    three.kill(leader)
                [receipt], refused = await until_it_works(
                    lambda number=number: send_task(
                        planner, "coder", f"T{number}", "x", request_id=f"r{number}"
                    )
                )
                sent.append(receipt.task_id)
                said += refused
            info, _ = await until_it_works(lambda: bus.api(f"STREAM.INFO.{TASKS}"))
            stored, taken = info["state"]["messages"], []
            while len(taken) < len(sent):
                inbox, refused = await until_it_works(lambda: read_inbox(coder, limit=50))
                # What it holds is named again.
                taken += [item.task.id for item in inbox.tasks if item.task.id not in taken]
                said += refused
            minority = [name for name in NAMES if name != leader]
            three.kill(minority[0])
            began = time.monotonic()
            with pytest.raises((BusUnreachable, Unconfirmed)) as alone:
                await send_task(planner, "coder", "Alone", "x")
            assert time.monotonic() - began < PROMISED_S

    assert (taken, stored) == (sent, len(sent))
    assert all(any(word in each for word in TRUE_WORDS) for each in said), said
    assert "have no leader just now" in str(alone.value)


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
