# SPDX-License-Identifier: Apache-2.0
"""A peer that occupies message ids in advance: what is said to be stored is stored all the same.

A server takes a message whose id it knows for a repeated one, drops it and acknowledges it.
"""

from mcp_agentbus.bus.client import H_MSG_ID, Bus
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff.inbox import read_inbox, watch_inbox
from mcp_agentbus.handoff.parked import parking, replay
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.store import streams, subjects

# A subject of each stream in which something is stored under an id.
OF_MALLORY = [
    subjects.task_subject("mallory", "normal", "mallory"),
    subjects.dead_subject("mallory", "normal", "mallory"),
    subjects.record_subject("mallory", "mallory", "0" * 32),
    subjects.scheduled_subject("mallory", "normal", "mallory", "0" * 32),
]


async def a_day(bus):
    """Do all that stores under an id, by names and numbers that are the same on every bus."""
    async with Session(bus, Agent("planner")) as planner, Session(bus, Agent("coder")) as coder:
        for session in (planner, coder):
            await session.called()
            await session.can_read()
        sent = [await send_task(planner, "coder", "Count", "x", request_id="r") for _ in range(2)]
        [task] = (await read_inbox(coder)).tasks
        await publish_result(coder, task.task.id, "completed")
        results = (await watch_inbox(planner, timeout_s=5)).results
        later = await send_task(planner, "coder", "Later", "x", request_id="l", deliver_in_s=1)
        due = (await watch_inbox(coder, timeout_s=10)).tasks
        lane = subjects.task_subject("coder", "low", "planner")
        await bus.publish(lane, b"no task")
        noted = (await read_inbox(coder)).notes
        [parked] = await parking.parked(bus, "coder")
        await replay.replay(bus, ["coder"], str(parked.number))
        again = (await read_inbox(coder)).notes
        return {
            "duplicates": [receipt.duplicate for [receipt] in sent],
            "result": [result.state for result in results],
            "due": [item.task.id for item in due] == [later[0].task_id],
            "parked": (len(noted), len(again), len(await parking.parked(bus, "coder"))),
        }


async def ids_of(bus, doing):
    """Return what is done, and the ids under which it was stored."""
    seen = set()
    async with bus.subscribed(
        "agentbus.>", lambda message: message and seen.add(message.headers.get(H_MSG_ID))
    ):
        return await doing, seen - {None}


async def test_whoever_occupies_the_ids_of_another_machine_occupies_none_of_ours():
    async with Bus.ephemeral() as elsewhere:
        expected, foreseen = await ids_of(elsewhere, a_day(elsewhere))
    assert len(foreseen) > 10
    assert expected == {
        "duplicates": [False, True], "result": ["completed"], "due": True, "parked": (1, 1, 1),
    }  # fmt: skip

    async with Bus.ephemeral() as bus:
        await streams.ensure_streams(bus)
        for subject in OF_MALLORY:
            for message_id in foreseen:
                await bus._link.request(subject, b"{}", {H_MSG_ID: message_id})
        outcome, used = await ids_of(bus, a_day(bus))

    assert outcome == expected
    assert not used & foreseen
