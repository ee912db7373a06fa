# SPDX-License-Identifier: Apache-2.0
"""Three servers as `agentbus server init --cluster` makes them: one dies, another, both are back."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from made_cluster import made_cluster, until

from mcp_agentbus.bus.client import Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.doctor import server
from mcp_agentbus.errors import BusUnreachable, Unconfirmed
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.intake.answer import Inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import subjects

_SENDERS = 3
_EACH_SENDS = 10
_HANG_S = 60
_NOT_NOW = (BusUnreachable, Unconfirmed)


async def sent(session, count):
    """Send tasks, one after the other, each until it is acknowledged; return their ids."""
    ids = []
    while len(ids) < count:
        name = f"{session.me.id}-{len(ids)}"
        try:
            [receipt] = await send_task(session, "coder", name, "x", request_id=name)
        except _NOT_NOW:
            continue
        ids.append(receipt.task_id)
    return ids


async def done(coder, count):
    """Watch an inbox, and finish what comes; return the ids."""
    came, open_ = [], []
    while len(came) < count or open_:
        try:
            if not open_:
                watched = await watch_inbox(coder, timeout_s=_HANG_S)
                open_ = [item.task.id for item in watched.tasks]
                came += [task_id for task_id in open_ if task_id not in came]
            await publish_result(coder, open_[0], "completed")
            open_ = open_[1:]
        except _NOT_NOW:
            continue
    return came


async def told(sender, count):
    """Return of how many of its tasks a sender is told that they are completed."""
    ended = set()
    while len(ended) < count:
        try:
            watched = await watch_inbox(sender, timeout_s=_HANG_S)
        except _NOT_NOW:
            continue
        ended |= {each.task_id for each in watched.results if each.state == "completed"}
    return ended


async def refused(call):
    """Return in which words it is refused, in whole or for a part: nothing is made up."""
    try:
        answer = await call
    except _NOT_NOW as error:
        return str(error)
    if isinstance(answer, Inbox) and not (answer.degraded or answer.tasks or answer.results):
        # Who is left leads for some seconds before it knows that it is alone; and nothing waits.
        return "an answer of before"
    assert getattr(answer, "degraded", ""), answer
    return answer.degraded


async def seen(settings):
    """Return what doctor says of the cluster."""
    checks = {check.name: check for check in await server.checks(settings)}
    return checks["cluster"]


@pytest.mark.promise(59)
async def test_it_goes_on_while_its_leader_is_killed_and_says_when_two_are_away(tmp_path):
    with made_cluster(tmp_path) as three:
        await three.ready()
        async with AsyncExitStack() as stack:

            async def session(name):
                bus = await stack.enter_async_context(Bus.connect(three.settings))
                return await stack.enter_async_context(Session(bus, Agent(name)))

            coder, *planners = [
                await session(name) for name in ("coder", *(f"p{n}" for n in range(_SENDERS)))
            ]
            await read_inbox(coder)
            whole = await seen(three.settings)
            reading = asyncio.create_task(done(coder, _SENDERS * _EACH_SENDS))
            sending = asyncio.gather(*(sent(each, _EACH_SENDS) for each in planners))
            info = await coder.bus.api(f"STREAM.INFO.{subjects.TASKS}")
            first = info["cluster"]["leader"]
            three.kill(first)
            ids, came = await sending, await reading
            ended = await told(planners[0], _EACH_SENDS)

            second = next(name for name in three.names if name != first)
            three.kill(second)
            words = await asyncio.gather(
                refused(read_inbox(coder)),
                refused(send_task(planners[0], "coder", "Alone", "x")),
                refused(watch_inbox(coder, timeout_s=0)),
            )

            async def knows_it():
                return (await seen(three.settings)).state == "wrong"

            await until(knows_it)  # it takes the server that is left some seconds
            three.start(first, second)
            again = await sent(planners[1], _EACH_SENDS + 1)

    assert whole.state == "ok"
    assert whole.said.startswith("3 of 3 servers, led by 127.0.0.1-")
    assert len(came) == len(set(came)) == _SENDERS * _EACH_SENDS
    assert [[each for each in came if each in of_one] for of_one in ids] == ids
    assert ended == set(ids[0])
    assert all("no leader" in each or "answer" in each for each in words), words
    assert again[:-1] == ids[1]
