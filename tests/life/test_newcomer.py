# SPDX-License-Identifier: Apache-2.0
"""A session that has called no tool yet: others find it, send to it, it is told; and its end."""

import asyncio
import json

import served
from hooking import HIGH, notice, session
from listeners import (
    configure,
    in_state,
    known,
    listening,
    off_roster,
    on_roster,
    recorder,
    send,
    steps,
)
from local_server import until

from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff import agents
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.session import Session
from mcp_agentbus.relay import local_socket
from mcp_agentbus.store import roster, subjects

# A listener that soon closes a desk when nobody needs it.
_TIDY = served.changed(
    "store.roster.BEAT_S = 1", "listener.loop.IDLE_S = 0.5", "listener.loop.LOOK_AGAIN_S = 1"
)


def said(house):
    """Return what the listener says of each agent, by its name."""
    return {one["agent"]: one for one in local_socket.ask(house, {"op": "status"})["agents"]}


async def standing(house):
    return await asyncio.to_thread(said, house)


async def test_it_can_be_sent_to_for_as_long_as_it_lives(house, planner, notes):
    signs, sign = asyncio.Queue(), subjects.heartbeat_subject("new", "*")
    async with listening(house) as listener, planner.bus.subscribed(sign, signs.put_nowait):
        async with session(house, "new", notes) as (_, notices):
            await listener.logged("ready", agent="new")
            entry = await on_roster(planner, "new")
            [listed] = (await agents.page(planner.bus, query="new")).agents
            receipt = await send(planner, "new")
            told = await notice(notices)
        async with asyncio.timeout(60):
            while not json.loads((await signs.get()).data).get("leaving"):
                pass
        await off_roster(planner, "new")

    assert (entry.state, entry.hosts) == ("live session", ("claude-code",))
    assert listed.entry == entry
    assert (receipt.state, receipt.recipient) == ("stored", "live session")
    assert told == HIGH


async def test_it_is_forgotten_once_it_has_gone_and_nothing_waits_for_it(house, planner, notes):
    configure(house, notes, stays={"command": recorder(notes)})
    async with listening(house, script=[*_TIDY, "listen"]) as listener:
        async with session(house, "guest", notes):
            await on_roster(planner, "guest")
            await send(planner, "guest", priority="normal")
        await listener.logged("left", agent="guest")
        # It looks once more after a session has left.
        await asyncio.to_thread(
            until, lambda: said(house)["guest"]["waiting"]["others"], "its task is not counted"
        )
        async with Session(planner.bus, Agent("guest")) as guest:
            await guest.called()
            [item] = (await read_inbox(guest)).tasks
            await publish_result(guest, item.task.id, "completed")
        await listener.logged("closed", agent="guest")
        left = await standing(house)
        await send(planner, "guest")
        async with session(house, "guest", notes) as (_, notices):
            told = await notice(notices)
    configure(house, notes)

    assert "guest" not in left
    assert "stays" in left
    assert told == HIGH


async def test_one_that_only_asked_for_the_tools_is_nobody(house, planner, notes):
    environ = served.environ(house.data_dir.parent)
    serve = served.living("serve", "--agent", "nobody", after_s=3600)
    async with listening(house) as listener:
        with served.Pipes(environ, serve) as probe:
            await asyncio.to_thread(probe.greet, served.MODERN)
            tools = await asyncio.to_thread(probe.ask, "tools/list", era=served.MODERN)
            probe.process.stdin.close()
            await asyncio.to_thread(probe.rest)
        async with session(house, "somebody", notes):
            await listener.logged("joined", agent="somebody")
            await on_roster(planner, "somebody")
            found = await roster.look(planner.bus, "nobody")
            listed = (await agents.page(planner.bus, query="body")).agents
        await listener.end()

    assert len(tools["result"]["tools"]) == 5
    assert found is None
    assert [one.entry.id for one in listed] == ["somebody"]
    assert "nobody" not in {one.get("agent") for one in listener.log}


async def test_one_that_has_called_and_is_killed_counts_as_there_until_its_tasks_are_free(
    house, planner
):
    await known(planner, "caller")
    held = await send(planner, "caller")
    # It was there before the listener, and serves itself.
    with served.Pipes(served.environ(house.data_dir.parent), agent="caller") as pipes:
        await asyncio.to_thread(pipes.greet, served.MODERN)
        await asyncio.to_thread(pipes.call, "read_inbox")
        async with listening(house) as listener:
            await listener.logged("joined", agent="caller")
            pipes.process.kill()
            await listener.logged("left", agent="caller")
            await send(planner, "caller")
            await listener.logged("held", agent="caller", reason="unknown_host")
            live = await roster.live_sessions(planner.bus, "caller")
            await in_state("offline", planner, "caller")
            waiting = (await asyncio.to_thread(local_socket.ask, house, {"op": "status"}))["agents"]

    life = await steps(planner, held.task_id)
    assert len(live) == 1
    assert [one["waiting"]["high"] for one in waiting if one["agent"] == "caller"] == [1]
    assert [state for state, _ in life] == ["stored", "claimed"]
