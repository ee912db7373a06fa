# SPDX-License-Identifier: Apache-2.0
"""Results that somebody waits for: none is lost over kills of the server, none behind others."""

import asyncio

from local_server import kill_servers

from mcp_agentbus.bus import embedded
from mcp_agentbus.handoff.inbox import watch_inbox
from mcp_agentbus.handoff.lookup import task_life
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import subjects
from mcp_agentbus.store.codec import encode_record
from mcp_agentbus.store.records import read_record
from mcp_agentbus.store.subjects import RESULTS

OTHERS = 1_000


async def restarted(settings):
    kill_servers(settings)
    await asyncio.to_thread(embedded.ensure, settings)


async def watched(session, count):
    """Return the results that come by waiting calls, until there are so many."""
    results = []
    while len(results) < count:
        results += (await watch_inbox(session, timeout_s=60)).results
    return results


async def test_waiting_over_kills_of_the_server_loses_no_result_and_doubles_none(own_world):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    settings = own_world.bus.settings
    ids = [
        (await send_task(planner, coder.me.id, f"{number}", "x"))[0].task_id for number in range(4)
    ]
    coder.bus = await own_world.another_bus()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(watched(planner, 4))
        for number, task_id in enumerate(ids):
            await publish_result(coder, task_id, "completed", summary=f"{number}")
            if number in {0, 2}:
                await restarted(settings)
    news = await watch_inbox(planner, timeout_s=0)

    told = [(each.summary, each.task_id) for each in waiting.result()]
    assert sorted(told) == [(f"{number}", task_id) for number, task_id in enumerate(ids)]
    assert news.results == ()


async def test_a_result_is_found_by_the_same_few_answers_behind_thousands_of_others(own_world):
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    done, open_ = [
        (await send_task(planner, coder.me.id, name, "x"))[0].task_id for name in ("done", "open")
    ]
    await publish_result(coder, done, "completed", summary="so it is")
    looker = await own_world.session("planner")

    async def look():
        """Return how much the server says to find a result, and that there is none."""
        before = dict(looker.bus._link._client.stats)
        assert (await task_life(looker, done)).record.summary == "so it is"
        assert (await watch_inbox(looker, task_id=open_, timeout_s=0)).results == ()
        return looker.bus._link._client.stats["in_bytes"] - before["in_bytes"]

    looker.bus = await own_world.another_bus()
    alone = await look()
    record, _ = await read_record(own_world.bus, planner.me.id, coder.me.id, done)
    data = encode_record(record)
    for number in range(OTHERS):
        for owner in (planner.me.id, "another"):
            subject = subjects.record_subject(owner, coder.me.id, f"other-{number}")
            await own_world.bus.send(subject, data, {})
    await own_world.bus.publish(subject, data)  # its answer comes behind all of them
    stored = (await own_world.bus.api(f"STREAM.INFO.{RESULTS}"))["state"]["messages"]

    assert stored > 2 * OTHERS
    assert await look() < 2 * alone
