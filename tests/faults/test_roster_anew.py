# SPDX-License-Identifier: Apache-2.0
"""A server that was started anew has heard from nobody yet: nobody is said to be away for that."""

from datetime import UTC, datetime, timedelta

import pytest
from listeners import in_state
from local_server import kill_servers

from mcp_agentbus.bus import embedded
from mcp_agentbus.bus.client import Bus
from mcp_agentbus.bus.embedded import Files
from mcp_agentbus.config.settings import load_settings
from mcp_agentbus.core.ids import Agent
from mcp_agentbus.handoff import agents
from mcp_agentbus.handoff.inbox import read_inbox
from mcp_agentbus.handoff.results import publish_result
from mcp_agentbus.handoff.send import send_task
from mcp_agentbus.store import roster, streams
from mcp_agentbus.store.subjects import PRESENCE
from mcp_agentbus.tools.answers.receipts import receipts_text
from mcp_agentbus.tools.answers.roster import roster_text


async def _absent_alone(bus):
    return [await roster.look(bus, "absent")]


async def test_after_a_restart_who_is_there_is_not_known_until_all_could_be_heard(
    own_world, monkeypatch
):
    monkeypatch.setattr(roster, "BEAT_S", 3600)
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    absent = own_world.name("absent")
    await roster.register(own_world.bus, Agent(absent), None)
    kill_servers(own_world.bus.settings)
    embedded.ensure(own_world.bus.settings)

    page = await agents.page(own_world.bus, include_offline=False)
    [high] = await send_task(planner, coder.me.id, "Now", "x", priority="high")
    listed = {each.entry.id: each.entry.state for each in page.agents}
    assert (listed[coder.me.id], listed[absent]) == ("not known", "not known")
    assert (high.recipient, high.wake) == ("not known", "not_known")
    assert "coder-" in receipts_text([high])
    assert f"Whether {high.to} is there is not known yet" in receipts_text([high])
    assert "wake: not_known (the bus server has just started" in receipts_text([high])
    assert "not known yet (the bus server has just started)" in roster_text(page)

    await roster.beat(own_world.bus, coder.me, coder.id)
    await in_state("live session", planner, coder.me.id)
    monkeypatch.setattr("mcp_agentbus.store.streams.PRESENCE_S", 0)
    assert (await roster.look(own_world.bus, absent)).state == "never seen"


@pytest.mark.parametrize("look", [roster.everybody, _absent_alone])
async def test_that_all_were_heard_of_one_server_says_nothing_of_the_next(
    own_world, monkeypatch, look
):
    await own_world.session("planner")
    await roster.register(own_world.bus, Agent("absent"), None)
    with monkeypatch.context() as settled:
        settled.setattr("mcp_agentbus.store.streams.PRESENCE_S", 0)
        before = await look(own_world.bus)
    again = await look(own_world.bus)
    kill_servers(own_world.bus.settings)
    embedded.ensure(own_world.bus.settings)

    after = await look(own_world.bus)

    states = [{each.id: each.state for each in some}["absent"] for some in (before, again, after)]
    assert states == ["never seen", "never seen", "not known"]


async def test_of_a_shared_bus_another_of_its_servers_may_have_forgotten_without_a_lost_connection(
    own_world, monkeypatch
):
    settings, token = own_world.bus.settings, Files(own_world.bus.settings.data_dir).token
    url = embedded.find(settings).url
    shared = {"AGENTBUS_URL": url, "AGENTBUS_TOKEN_FILE": str(token)}
    await own_world.session("planner")
    await roster.register(own_world.bus, Agent("absent"), None)
    async with Bus.connect(load_settings({**settings.environ, **shared})) as bus:
        with monkeypatch.context() as settled:
            settled.setattr("mcp_agentbus.store.streams.PRESENCE_S", 0)
            before = await roster.look(bus, "absent")
        await bus.api(f"STREAM.DELETE.{PRESENCE}")
        await streams.ensure_streams(bus)

        after = await roster.look(bus, "absent")

    assert (before.state, after.state) == ("never seen", "not known")


async def test_after_a_restart_a_result_waits_for_a_session_that_may_live(own_world, monkeypatch):
    monkeypatch.setattr(roster, "BEAT_S", 3600)
    planner, coder = await own_world.session("planner"), await own_world.session("coder")
    other = await own_world.session("planner")
    await send_task(planner, coder.me.id, "Mine", "x")
    [item] = (await read_inbox(coder)).tasks
    await publish_result(coder, item.task.id, "completed")
    kill_servers(own_world.bus.settings)
    embedded.ensure(own_world.bus.settings)

    theirs, mine = await read_inbox(other), await read_inbox(planner)

    assert (theirs.results, theirs.results_elsewhere) == ((), 1)
    assert [result.task_id for result in mine.results] == [item.task.id]


async def test_on_a_new_bus_it_is_known_that_nobody_was_there_before(own_world):
    planner = await own_world.session("planner")
    await roster.register(own_world.bus, Agent("absent"), None)

    [receipt] = await send_task(planner, "absent", "Now", "x", priority="high")

    assert (receipt.recipient, receipt.wake) == ("never seen", "held")


async def test_who_is_there_was_seen_at_the_last_sign_of_a_session_also_before_its_first_call(
    world,
):
    planner = await world.session("planner")
    newcomer, coder = Agent(world.name("newcomer")), Agent(world.name("coder"))
    long_ago = datetime.now(UTC) - timedelta(days=3)
    await roster.register(world.bus, coder, long_ago)

    for agent in (newcomer, coder):
        await roster.beat(world.bus, agent, "5e55")
        await in_state("live session", planner, agent.id)

    there = {entry.id: entry for entry in await roster.everybody(world.bus)}
    now = datetime.now(UTC)
    for agent in (newcomer, coder):
        seen = there[agent.id].last_seen
        assert seen is not None
        assert timedelta() <= now - seen < timedelta(seconds=30)
